//! What the benchmark's cluster holds: profiles of ten notebooks each, as Kubeflow's controllers would have made them.

use std::fmt::Debug;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DynamicObject, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::kubeflow::contributor::{Role, contributor};
use crate::kubeflow::notebook::{Notebook, STOPPED, stateful_set};
use crate::team::kind;

pub(in crate::bench) const PROFILES: usize = 200;
/// In each profile: eight run, one is stopped, and one has run since before Fairlead.
pub(in crate::bench) const NOTEBOOKS: usize = 10;
/// How many people of each kind look at it: one person may have twenty streams.
const VISITORS: usize = 5;
/// Profiles that are written at the same time.
const AT_ONCE: usize = 12;

/// The namespace of a profile.
pub(in crate::bench) fn profile(number: usize) -> String {
    format!("team-{number:03}")
}

/// Whose a profile is.
pub(in crate::bench) fn owner(number: usize) -> String {
    format!("person-{number:03}@example.com")
}

/// Who edits in all profiles.
pub(in crate::bench) fn everywhere() -> Vec<String> {
    (0..VISITORS).map(|number| format!("everywhere-{number}@example.com")).collect()
}

/// Who edits in the first profile alone.
pub(in crate::bench) fn in_the_first() -> Vec<String> {
    (0..VISITORS).map(|number| format!("one-profile-{number}@example.com")).collect()
}

/// The name of one of a profile's notebooks.
pub(in crate::bench) fn notebook(number: usize) -> String {
    format!("notebook-{number}")
}

/// The id of a notebook's card in the page.
pub(in crate::bench) fn card(of: usize, number: usize) -> String {
    format!("nb-{}_{}", profile(of), notebook(number))
}

/// Writes all of it.
pub(in crate::bench) async fn write(client: &Client) -> Result<()> {
    write_profiles(client, PROFILES, |of| {
        let here = if of == 0 { in_the_first() } else { Vec::new() };
        everywhere().into_iter().chain(here).collect()
    })
    .await
}

/// Writes so many profiles with their notebooks, each with the contributors that `people` says.
pub(in crate::bench) async fn write_profiles(
    client: &Client,
    count: usize,
    people: impl Fn(usize) -> Vec<String>,
) -> Result<()> {
    let mut written = 0;
    let profiles = (0..count).map(|of| one_profile(client, of, people(of)));
    let mut all = stream::iter(profiles).buffer_unordered(AT_ONCE);
    while let Some(()) = all.try_next().await? {
        written += 1;
        if written % 50 == 0 {
            tracing::info!("{written} of {count} profiles with {NOTEBOOKS} notebooks each");
        }
    }
    Ok(())
}

async fn one_profile(client: &Client, of: usize, people: Vec<String>) -> Result<()> {
    let (name, owner) = (profile(of), owner(of));
    let object = json!({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": owner}}});
    let profiles: Api<DynamicObject> = Api::all_with(client.clone(), &kind("Profile"));
    create(&profiles, object).await?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    create(&namespaces, json!({"metadata": {"name": name, "annotations": {"owner": owner}}})).await?;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &name);
    for person in people {
        let (binding, _) = contributor(&name, &person, Role::Edit);
        create(&bindings, serde_json::to_value(binding).context("writing a RoleBinding")?).await?;
    }
    for number in 0..NOTEBOOKS {
        one_notebook(client, of, number).await?;
    }
    Ok(())
}

async fn one_notebook(client: &Client, of: usize, number: usize) -> Result<()> {
    let (namespace, name) = (profile(of), notebook(number));
    let (is_stopped, is_old) = (number == 8, number == 9);
    let annotations = if is_stopped { json!({STOPPED: "2026-01-01T00:00:00Z"}) } else { json!({}) };
    let object = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"template": {"spec": {"containers": [{"name": name,
            "image": "registry.example.com/kubeflow/jupyter-pytorch-full:v1.10.0",
            "resources": {"requests": {"cpu": "2", "memory": "8Gi"}}}]}}}});
    let notebooks: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &kind("Notebook"));
    let made = create(&notebooks, object).await?;

    let set = stateful_set(&Notebook::parse(&made)?);
    let template = set.spec.template.spec.clone();
    let mut set = serde_json::to_value(set).context("writing a StatefulSet")?;
    set["metadata"]["ownerReferences"] = owned("kubeflow.org/v1", "Notebook", &name, made.metadata.uid.as_deref());
    let set = create(&of_namespace::<StatefulSet>(client, &namespace), set).await?;
    if is_stopped {
        return Ok(());
    }
    let mut spec = serde_json::to_value(template).context("writing a Pod")?;
    if !is_old {
        spec["volumes"] = json!([{"name": "fairlead-ssh", "secret": {"secretName": format!("fairlead-{name}")}}]);
        let mount = json!([{"name": "fairlead-ssh", "mountPath": "/var/run/secrets/fairlead", "readOnly": true}]);
        spec["containers"][0]["volumeMounts"] = mount;
    }
    let owners = owned("apps/v1", "StatefulSet", &name, set.metadata.uid.as_deref());
    let labels = json!({"notebook-name": name, "statefulset": name});
    let pod = format!("{name}-0");
    let metadata = json!({"name": pod, "labels": labels, "ownerReferences": owners});
    let pods = of_namespace::<Pod>(client, &namespace);
    create(&pods, json!({"metadata": metadata, "spec": spec})).await?;
    // Addresses that no network has (RFC 2544); nobody dials them here.
    let place = of * NOTEBOOKS + number;
    let status = json!({"status": {"phase": "Running", "podIP": format!("198.18.{}.{}", place / 250, place % 250 + 1),
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]}});
    let patched = pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status)).await;
    patched.with_context(|| format!("writing the status of `{namespace}/{pod}`")).map(drop)
}

fn owned(version: &str, kind: &str, name: &str, uid: Option<&str>) -> Value {
    json!([{"apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true}])
}

fn of_namespace<K>(client: &Client, namespace: &str) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    Api::namespaced(client.clone(), namespace)
}

async fn create<K>(api: &Api<K>, object: Value) -> Result<K>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let said = format!("creating `{}`", object["metadata"]["name"].as_str().unwrap_or_default());
    let object: K = serde_json::from_value(object).context("writing an object")?;
    api.create(&PostParams::default(), &object).await.context(said)
}
