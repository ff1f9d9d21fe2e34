//! What the notebook controller says about a Notebook: its Pod's conditions and container state.
//!
//! Follows `createNotebookStatus` and `PodCondToNotebookCond` of upstream's `notebook_controller.go`.

use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Pod, PodCondition, PodStatus},
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};

use super::Notebook;

/// The status to write: `conditions`, `readyReplicas` and `containerState`.
///
/// `stateful_set` is `None` in the pass that created it. Only the container named as the Notebook
/// counts. `now` stands in for times the Pod's conditions lack, which a kubelet's always do for
/// `lastProbeTime`.
///
/// Upstream means to leave `containerState` out when it is unchanged, but compares pointers that are
/// never equal: in effect it is always written, and so it is here.
#[must_use]
pub fn status(notebook: &Notebook, stateful_set: Option<&StatefulSet>, pod: Option<&Pod>, now: &Time) -> Value {
    let stateful_set = stateful_set.and_then(|found| found.status.as_ref());
    let ready = stateful_set.and_then(|status| status.ready_replicas).unwrap_or(0);
    let pod = pod.and_then(|pod| pod.status.as_ref());
    let pod = pod.filter(|status| **status != PodStatus::default());
    let conditions = pod.iter().flat_map(|status| status.conditions.iter().flatten());
    let conditions: Vec<_> = conditions.map(|found| condition(found, now)).collect();
    let mut containers = pod.iter().flat_map(|pod| pod.container_statuses.iter().flatten());
    let main = containers.find(|container| container.name == notebook.name);
    let state = main.and_then(|container| container.state.as_ref()).map(|state| json!(state));
    json!({
        "conditions": conditions,
        "readyReplicas": ready,
        "containerState": state.unwrap_or_else(|| json!({})),
    })
}

/// Whether two statuses say the same but for the time of asking, which upstream renews in each pass
/// and so wakes itself again, until two passes fall into one second.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    let timeless = |status: &Value| {
        let mut status = status.clone();
        for condition in status["conditions"].as_array_mut().into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                condition.remove("lastProbeTime");
            }
        }
        status
    };
    timeless(one) == timeless(other)
}

fn condition(pod: &PodCondition, now: &Time) -> Value {
    let mut condition = json!({
        "type": pod.type_,
        "status": pod.status,
        "lastProbeTime": pod.last_probe_time.as_ref().unwrap_or(now),
        "lastTransitionTime": pod.last_transition_time.as_ref().unwrap_or(now),
    });
    for (key, value) in [("reason", &pod.reason), ("message", &pod.message)] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            condition[key] = json!(value);
        }
    }
    condition
}
