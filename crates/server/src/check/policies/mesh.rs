//! What Istio's kinds of policies have in common, and whether a Pod's sidecar stands before sshd at all.

use fairlead_model::access::SSHD_PORT;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::way::Labels;
use crate::cluster::is_absent;
use crate::watch::mesh::ISTIO;
use crate::webhook::EXCLUDED;

pub(super) use fairlead_model::plan::mesh::ROOT;

const INCLUDED: &str = "traffic.sidecar.istio.io/includeInboundPorts";

/// A policy of Istio, with what is read of its `spec`.
#[derive(Debug, Clone)]
pub(super) struct Ruled<T> {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) made: Option<Timestamp>,
    pub(super) dry_run: bool,
    pub(super) spec: T,
}

/// Istio's own kind of selector.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Workload {
    match_labels: Labels,
}

/// What stands between a Pod's address and its sshd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Nothing of Istio.
    Nothing,
    /// A sidecar that port 2209 goes past, by annotation.
    GoesPast,
    /// A sidecar.
    Sidecar,
    /// The node's proxy of Istio's ambient mode.
    Ambient,
}

impl<T> Ruled<T> {
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

impl Workload {
    pub(super) fn is_any(&self) -> bool {
        self.match_labels.is_empty()
    }

    pub(super) fn takes(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}

/// The policies of a kind in a namespace; `None` where the cluster has no such kind.
pub(super) async fn list<T>(client: &Client, kind: &str, namespace: &str) -> kube::Result<Option<Vec<Ruled<T>>>>
where
    T: DeserializeOwned + Default,
{
    for version in ISTIO {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("security.istio.io", version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        match api.list(&ListParams::default()).await {
            Ok(found) => return Ok(Some(found.items.into_iter().filter_map(|object| read(&object)).collect())),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A policy without a `spec` is one with an empty one; istiod takes none that does not parse, either.
fn read<T: DeserializeOwned + Default>(object: &DynamicObject) -> Option<Ruled<T>> {
    let spec = object.data.get("spec").cloned().map_or_else(|| Ok(T::default()), serde_json::from_value);
    let spec = spec.inspect_err(|error| {
        let (namespace, name) = (object.namespace(), object.name_any());
        tracing::warn!(namespace, name, %error, "a policy of Istio cannot be read");
    });
    Some(Ruled {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        made: object.creation_timestamp().map(|made| made.0),
        dry_run: object.annotations().get("istio.io/dry-run").is_some_and(|word| word == "true"),
        spec: spec.ok()?,
    })
}

/// What stands before the Pod's sshd. A port is left out where all others are taken in, or where it is not among those
/// that are.
pub(super) fn guard(pod: &Pod) -> Guard {
    let annotation = |key: &str| pod.annotations().get(key).map(String::as_str);
    if annotation("ambient.istio.io/redirection") == Some("enabled") {
        return Guard::Ambient;
    }
    let spec = pod.spec.iter();
    // A native sidecar is an init container.
    let mut containers = spec.flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
    if !containers.any(|container| container.name == "istio-proxy") {
        return Guard::Nothing;
    }
    let lists = |ports: &str| ports.split(',').any(|port| port.trim().parse() == Ok(SSHD_PORT));
    let goes_past = match annotation(INCLUDED).map(str::trim) {
        None | Some("*") => annotation(EXCLUDED).is_some_and(lists),
        Some(included) => !lists(included),
    };
    if goes_past { Guard::GoesPast } else { Guard::Sidecar }
}

/// Whether sshd's port is among those that the Pod wants excluded from its sidecar, whatever becomes of that.
pub(super) fn is_excluded(pod: &Pod) -> bool {
    let ports = pod.annotations().get(EXCLUDED);
    ports.is_some_and(|ports| ports.split(',').map(str::trim).any(|port| port == "*" || port.parse() == Ok(SSHD_PORT)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_sidecar_stands_before_sshd_unless_told_otherwise() {
        let proxy = json!([{"name": "istio-proxy"}]);
        let ml = json!([{"name": "ml"}]);
        for (annotations, containers, init, expected) in [
            (json!({}), &ml, &json!([]), Guard::Nothing),
            (json!({}), &ml, &proxy, Guard::Sidecar),
            (json!({}), &proxy, &json!([]), Guard::Sidecar),
            (json!({EXCLUDED: "2209"}), &proxy, &json!([]), Guard::GoesPast),
            (json!({EXCLUDED: "80, 2209"}), &proxy, &json!([]), Guard::GoesPast),
            (json!({EXCLUDED: "22090,220"}), &proxy, &json!([]), Guard::Sidecar),
            (json!({INCLUDED: "8888"}), &proxy, &json!([]), Guard::GoesPast),
            (json!({INCLUDED: ""}), &proxy, &json!([]), Guard::GoesPast),
            (json!({INCLUDED: "*"}), &proxy, &json!([]), Guard::Sidecar),
            (json!({INCLUDED: "8888,2209", EXCLUDED: "2209"}), &proxy, &json!([]), Guard::Sidecar),
            (json!({"ambient.istio.io/redirection": "enabled"}), &ml, &json!([]), Guard::Ambient),
        ] {
            let pod = json!({"metadata": {"annotations": annotations},
                "spec": {"containers": containers, "initContainers": init}});
            assert_eq!(guard(&serde_json::from_value(pod.clone()).expect("a Pod")), expected, "{pod}");
        }
    }
}
