//! What people see of a Notebook: its image and what it takes of the cluster. Its people write all of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::world::Shown;

/// The longest name of an image, in characters: a registry's name has up to 255, and a tag 128 (OCI distribution).
const MAX_IMAGE: usize = 300;
/// The longest quantity.
const MAX_QUANTITY: usize = 64;

/// Of the container that is named as the Notebook, which is the notebook's; else of the first.
pub(super) fn shown(name: &str, meta: &ObjectMeta, data: &Value) -> Shown {
    let containers = data["spec"]["template"]["spec"]["containers"].as_array().map_or(&[][..], Vec::as_slice);
    let container = containers.iter().find(|container| container["name"] == name).or(containers.first());
    let container = container.unwrap_or(&Value::Null);
    let resources = &container["resources"];
    let quantity = |name: &str| {
        let texts = [&resources["limits"][name], &resources["requests"][name]].map(text);
        cleaned(&texts.into_iter().flatten().next().unwrap_or_default(), MAX_QUANTITY)
    };
    let limits = resources["limits"].as_object().into_iter().flatten();
    let gpus = limits.filter(|(name, _)| counts_gpus(name)).filter_map(|(_, value)| text(value)?.parse::<u32>().ok());
    Shown {
        image: cleaned(container["image"].as_str().unwrap_or_default(), MAX_IMAGE),
        cpu: quantity("cpu"),
        memory: quantity("memory"),
        gpus: gpus.fold(0, u32::saturating_add),
        created: super::created(meta),
    }
}

/// A quantity: custom resources have them as texts or as numbers.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn cleaned(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}

/// Whether a resource counts GPUs or pieces of them: `nvidia.com/gpu`, `amd.com/gpu`, `nvidia.com/gpu.shared`,
/// `gpu.intel.com/i915`, `nvidia.com/mig-1g.5gb`. What shares them also has resources in megabytes or hundredths,
/// which count something else: `nvidia.com/gpumem`, `nvidia.com/gpucores`, `aliyun.com/gpu-mem`.
fn counts_gpus(resource: &str) -> bool {
    let kind = resource.rsplit('/').next().unwrap_or_default();
    let amount = ["mem", "core", "percent"].iter().any(|word| kind.contains(word));
    (resource.contains("gpu") || resource.starts_with("nvidia.com/mig-")) && !amount
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(containers: &Value) -> Shown {
        let data = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        shown("ml", &ObjectMeta::default(), &data)
    }

    #[test]
    fn image_and_resources_are_those_of_the_notebooks_container() {
        let sidecar = json!({"name": "proxy", "image": "proxy:1", "resources": {"limits": {"cpu": "9"}}});
        let own = json!({"name": "ml", "image": "jupyter:2", "resources": {
            "limits": {"cpu": 2, "nvidia.com/gpu": "1"}, "requests": {"cpu": "1", "memory": "8Gi"}}});
        let seen = of(&json!([sidecar, own]));
        assert_eq!(seen.image, "jupyter:2");
        assert_eq!((seen.cpu.as_str(), seen.memory.as_str(), seen.gpus), ("2", "8Gi", 1));
        let seen = of(&json!([sidecar]));
        assert_eq!((seen.image.as_str(), seen.cpu.as_str()), ("proxy:1", "9"));
        for nothing in [json!([]), json!(null), json!("x"), json!([1, null])] {
            assert_eq!(of(&nothing), Shown::default(), "{nothing}");
        }
    }

    #[test]
    fn gpus_are_counted_and_their_memory_is_not() {
        for (limits, gpus) in [
            (json!({"nvidia.com/gpu": "2", "amd.com/gpu": 1}), 3),
            (json!({"nvidia.com/mig-1g.5gb": "3"}), 3),
            (json!({"gpu.intel.com/i915": "1", "nvidia.com/gpu.shared": "4"}), 5),
            (json!({"nvidia.com/gpu": "1", "nvidia.com/gpumem": "8000", "nvidia.com/gpucores": "50"}), 1),
            (json!({"aliyun.com/gpu-mem": "16", "nvidia.com/gpumem-percentage": "50"}), 0),
            (json!({"cpu": "4", "ephemeral-storage": "5"}), 0),
            (json!({"nvidia.com/gpu": "-1", "amd.com/gpu": "1.5", "x/gpu": {}}), 0),
            (json!({"a/gpu": "4294967295", "b/gpu": "4294967295"}), u32::MAX),
        ] {
            assert_eq!(of(&json!([{"name": "ml", "resources": {"limits": limits}}])).gpus, gpus, "{limits}");
        }
    }

    #[test]
    fn long_texts_are_cut_and_control_characters_go() {
        let long = format!("a\n\u{1b}[31mb{}", "ä".repeat(2000));
        let seen = of(&json!([{"name": "ml", "image": long, "resources": {"limits": {"cpu": long, "memory": long}}}]));
        assert_eq!((seen.image.chars().count(), seen.cpu.chars().count()), (MAX_IMAGE, MAX_QUANTITY));
        for text in [seen.image, seen.cpu, seen.memory] {
            assert!(text.starts_with("a[31mb") && !text.chars().any(char::is_control), "{text}");
        }
    }
}
