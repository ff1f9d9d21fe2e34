//! Which patch takes sshd's port out of a Pod's sidecar. Pure: a Pod as JSON in, operations out.

use fairlead_model::access::SSHD_PORT;
use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, PatchOperation};
use serde_json::{Value, json};

/// Istio's annotation: what is injected after us reads it, so our configuration's name sorts before Istio's.
pub(crate) const EXCLUDED: &str = "traffic.sidecar.istio.io/excludeInboundPorts";

/// The patch for a notebook's Pod: none where the port is among those excluded already, or all are.
pub(super) fn patch(pod: &Value) -> Vec<PatchOperation> {
    let meta = &pod["metadata"];
    if meta["labels"]["notebook-name"].is_null() {
        return Vec::new();
    }
    let annotations = &meta["annotations"];
    let before = annotations[EXCLUDED].as_str().unwrap_or_default().trim();
    let mut ports: Vec<&str> = before.split(',').map(str::trim).filter(|port| !port.is_empty()).collect();
    let own = SSHD_PORT.to_string();
    if ports.iter().any(|port| *port == "*" || *port == own) {
        return Vec::new();
    }
    ports.push(&own);
    let add = |path: &[&str], value| {
        PatchOperation::Add(AddOperation { path: PointerBuf::from_tokens(path.iter().copied()), value })
    };
    let make = annotations.is_null().then(|| add(&["metadata", "annotations"], json!({})));
    make.into_iter().chain([add(&["metadata", "annotations", EXCLUDED], json!(ports.join(",")))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_added_to_those_that_are_excluded_and_not_twice() {
        for (annotations, expected) in [
            (Value::Null, "2209"),
            (json!({}), "2209"),
            (json!({"a": "b"}), "2209"),
            (json!({EXCLUDED: ""}), "2209"),
            (json!({EXCLUDED: "80"}), "80,2209"),
            (json!({EXCLUDED: " 80, 81 ,"}), "80,81,2209"),
            (json!({EXCLUDED: "22090"}), "22090,2209"),
            (json!({EXCLUDED: "80, 2209"}), "80, 2209"),
            (json!({EXCLUDED: "*"}), "*"),
        ] {
            let mut pod = json!({"metadata": {"labels": {"notebook-name": "ml"}, "annotations": annotations}});
            let operations = patch(&pod);
            json_patch::patch(&mut pod, &operations).unwrap();
            assert_eq!(pod["metadata"]["annotations"][EXCLUDED], expected, "{annotations}");
            let others = annotations.as_object().into_iter().flatten().filter(|(key, _)| *key != EXCLUDED);
            others.for_each(|(key, value)| assert_eq!(&pod["metadata"]["annotations"][key], value));
            assert!(patch(&pod).is_empty(), "asked again: {annotations}");
        }
        assert!(patch(&json!({"metadata": {}})).is_empty(), "not a notebook's");
    }

    #[test]
    fn the_configuration_sorts_before_each_of_istio_s() {
        // The API server asks webhooks in the order of their configurations' names.
        for name in [
            "istio-sidecar-injector",
            "istio-sidecar-injector-1-29-0",
            "istio-sidecar-injector-istio-system",
            "istio-revision-tag-default",
            "istio-revision-tag-prod",
            "istiod-asm-managed",
        ] {
            assert!(crate::webhook::registration::NAME < name, "{name}");
        }
    }
}
