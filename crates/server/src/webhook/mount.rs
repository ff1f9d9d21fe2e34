//! Which patch mounts a notebook's Secret into its Pod. Pure: a Pod as JSON in, operations out.

use fairlead_model::plan::{MODE, MOUNT, VOLUME};
use fairlead_model::{NotebookId, plan};
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Value, json};

/// The label by which Kubeflow names a Pod's notebook.
const LABEL: &str = "notebook-name";

/// Why a Pod is left as it is, although it says that it is a notebook's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// The label's value names no notebook.
    #[error("its label `{LABEL}` is not the name of a notebook that Fairlead serves")]
    Name,
    /// Notebooks' Pods are made by StatefulSets.
    #[error("no StatefulSet controls it")]
    Owner,
    /// Its address would be a node's.
    #[error("it uses its node's network")]
    HostNetwork,
    /// No container has the notebook's name.
    #[error("it has no container named as the notebook")]
    Container,
    /// Volume name or path are used for something else.
    #[error("it has something else at `{MOUNT}` or a volume `{VOLUME}` of its own")]
    Taken,
}

/// The patch for a Pod in `namespace`: none where it is no notebook's or has the mount already.
pub(super) fn patch(namespace: &str, pod: &Value) -> Result<Vec<PatchOperation>, Doubt> {
    let Some(name) = pod["metadata"]["labels"][LABEL].as_str() else { return Ok(Vec::new()) };
    let id = NotebookId::parse(namespace, name).map_err(|_| Doubt::Name)?;
    let mut owners = list(&pod["metadata"]["ownerReferences"]).iter();
    if !owners.any(|owner| owner["controller"] == true && owner["kind"] == "StatefulSet") {
        return Err(Doubt::Owner);
    }
    let spec = &pod["spec"];
    if spec["hostNetwork"] == true {
        return Err(Doubt::HostNetwork);
    }
    let is_notebook = |container: &Value| container["name"].as_str() == Some(id.name.as_str());
    let index = list(&spec["containers"]).iter().position(is_notebook).ok_or(Doubt::Container)?;
    let mut operations = add_volume(&id, &spec["volumes"])?;
    operations.extend(add_mount(index, &spec["containers"][index]["volumeMounts"])?);
    Ok(operations)
}

fn add_volume(id: &NotebookId, volumes: &Value) -> Result<Vec<PatchOperation>, Doubt> {
    let secret = plan::secret_name(id);
    let volume = json!({"name": VOLUME, "secret": {"secretName": secret, "optional": true, "defaultMode": MODE}});
    match list(volumes).iter().find(|volume| volume["name"] == VOLUME) {
        Some(found) if found["secret"]["secretName"] == secret.as_str() => Ok(Vec::new()),
        Some(_) => Err(Doubt::Taken),
        None => Ok(append(&["spec", "volumes"], volumes, volume)),
    }
}

fn add_mount(container: usize, mounts: &Value) -> Result<Vec<PatchOperation>, Doubt> {
    let mount = json!({"name": VOLUME, "mountPath": MOUNT, "readOnly": true});
    let at_path = |mount: &&Value| mount["mountPath"].as_str().is_some_and(|path| path.trim_end_matches('/') == MOUNT);
    match list(mounts).iter().find(at_path) {
        Some(found) if found["name"] == VOLUME => Ok(Vec::new()),
        Some(_) => Err(Doubt::Taken),
        None => Ok(append(&["spec", "containers", &container.to_string(), "volumeMounts"], mounts, mount)),
    }
}

/// Adds to the end of a list, which is made first where there is none: RFC 6902 cannot add to what is not there.
fn append(path: &[&str], list: &Value, value: Value) -> Vec<PatchOperation> {
    let add = |path: PointerBuf, value| PatchOperation::Add(AddOperation { path, value });
    let at = PointerBuf::from_tokens(path.iter().copied());
    let make = list.is_null().then(|| add(at.clone(), json!([])));
    let end = PointerBuf::from_tokens(path.iter().copied().chain(["-"]));
    make.into_iter().chain([add(end, value)]).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({
            "metadata": {"labels": {LABEL: "ml"}, "ownerReferences": [{"kind": "StatefulSet", "controller": true}]},
            "spec": {"containers": [
                {"name": "istio-proxy", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}, {"name": "ml"}],
                "initContainers": [{"name": "ml"}]},
        })
    }

    fn patched(mut pod: Value) -> Value {
        let operations = patch("team-a", &pod).unwrap();
        json_patch::patch(&mut pod, &operations).unwrap();
        pod
    }

    #[test]
    fn the_secret_is_mounted_into_the_notebooks_container_and_no_other() {
        let pod = patched(pod());
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{"name": VOLUME, "secret": {"secretName": "fairlead-ml", "optional": true, "defaultMode": 0o444}}])
        );
        let mount = json!([{"name": VOLUME, "mountPath": MOUNT, "readOnly": true}]);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"], mount);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"], json!([{"name": "x", "mountPath": "/x"}]));
        assert_eq!(pod["spec"]["initContainers"], json!([{"name": "ml"}]));
    }

    #[test]
    fn a_pod_that_has_the_mount_is_left_alone() {
        assert!(patch("team-a", &patched(pod())).unwrap().is_empty());
    }

    #[test]
    fn what_is_there_already_stays() {
        let mut pod = pod();
        pod["spec"]["volumes"] = json!([{"name": "home", "emptyDir": {}}]);
        pod["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "home", "mountPath": "/home/jovyan"}]);
        let pod = patched(pod);
        assert_eq!(pod["spec"]["volumes"][0]["name"], "home");
        assert_eq!(pod["spec"]["volumes"][1]["name"], VOLUME);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"][0]["name"], "home");
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"][1]["name"], VOLUME);
    }

    #[test]
    fn a_pod_that_is_not_surely_a_notebooks_is_left_alone() {
        type Change = fn(&mut Value);
        let long = |pod: &mut Value| pod["metadata"]["labels"][LABEL] = "a".repeat(53).into();
        let cases: [(Change, Doubt); 9] = [
            (long, Doubt::Name),
            (|pod| pod["metadata"]["labels"][LABEL] = "a.b".into(), Doubt::Name),
            (|pod| pod["metadata"]["ownerReferences"] = Value::Null, Doubt::Owner),
            (|pod| pod["metadata"]["ownerReferences"][0]["kind"] = "ReplicaSet".into(), Doubt::Owner),
            (|pod| pod["metadata"]["ownerReferences"][0]["controller"] = false.into(), Doubt::Owner),
            (|pod| pod["spec"]["hostNetwork"] = true.into(), Doubt::HostNetwork),
            (|pod| pod["spec"]["containers"][1]["name"] = "other".into(), Doubt::Container),
            (|pod| pod["spec"]["volumes"] = json!([{"name": VOLUME, "emptyDir": {}}]), Doubt::Taken),
            (
                |pod| pod["spec"]["containers"][1]["volumeMounts"] = json!([{"name": "x", "mountPath": MOUNT}]),
                Doubt::Taken,
            ),
        ];
        for (change, doubt) in cases {
            let mut pod = pod();
            change(&mut pod);
            assert_eq!(patch("team-a", &pod), Err(doubt), "{pod}");
        }
        assert_eq!(patch("Team A", &pod()), Err(Doubt::Name));
        assert_eq!(patch("team-a", &json!({"spec": 7})), Ok(Vec::new()), "nothing says that it is a notebook's");
    }
}
