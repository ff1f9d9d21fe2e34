//! What the stand-in makes of a Notebook, against what upstream's sources do.

use k8s_openapi::{
    api::{apps::v1::StatefulSet, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{status::same, *};

fn object(metadata: &Value, container: &Value) -> DynamicObject {
    let mut metadata = metadata.clone();
    metadata["name"] = json!("ml");
    metadata["namespace"] = json!("team");
    serde_json::from_value(json!({
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Notebook",
        "metadata": metadata,
        "spec": { "template": { "spec": { "containers": [container] } } },
    }))
    .expect("a notebook")
}

fn notebook(metadata: &Value, container: &Value) -> Notebook {
    Notebook::parse(&object(metadata, container)).expect("a notebook that parses")
}

fn plain() -> Notebook {
    notebook(&json!({}), &json!({ "name": "ml" }))
}

#[test]
fn a_plain_notebook_gets_upstreams_defaults() {
    let made = json!(stateful_set(&plain()));
    assert_eq!(made["spec"]["replicas"], 1);
    assert_eq!(made["spec"]["selector"], json!({ "matchLabels": { "statefulset": "ml" } }));
    assert_eq!(
        made["spec"]["template"],
        json!({
            "metadata": {
                "labels": { "statefulset": "ml", "notebook-name": "ml" },
                "annotations": {},
            },
            "spec": {
                "containers": [{
                    "name": "ml",
                    "workingDir": "/home/jovyan",
                    "ports": [{ "containerPort": 8888, "name": "notebook-port", "protocol": "TCP" }],
                    "env": [{ "name": "NB_PREFIX", "value": "/notebook/team/ml" }],
                }],
                "securityContext": { "fsGroup": 100 },
            },
        })
    );
}

#[test]
fn the_stop_annotation_stops_whatever_its_value() {
    for (annotations, replicas) in [(json!({}), 1), (json!({ STOPPED: "" }), 0), (json!({ STOPPED: "2026-01-01" }), 0)]
    {
        let notebook = notebook(&json!({ "annotations": annotations }), &json!({ "name": "ml" }));
        assert_eq!(json!(stateful_set(&notebook))["spec"]["replicas"], replicas, "{annotations}");
    }
}

#[test]
fn labels_and_most_annotations_reach_the_pod() {
    let metadata = json!({
        "labels": { "app": "x", "statefulset": "hijacked" },
        "annotations": {
            "a/b": "1", "notebooks.kubeflow.org/creator": "2",
            "kubectl.kubernetes.io/x": "3", "my-notebook": "4",
        },
    });
    let made = json!(stateful_set(&notebook(&metadata, &json!({ "name": "ml" }))));
    let pod = &made["spec"]["template"]["metadata"];
    assert_eq!(pod["annotations"], json!({ "a/b": "1" }));
    assert_eq!(pod["labels"], json!({ "app": "x", "notebook-name": "ml", "statefulset": "hijacked" }));
}

#[test]
fn a_prefix_already_there_is_not_set_right() {
    let env = json!([{ "name": "NB_PREFIX", "value": "/wrong" }]);
    let made = json!(stateful_set(&notebook(&json!({}), &json!({ "name": "ml", "env": env }))));
    assert_eq!(made["spec"]["template"]["spec"]["containers"][0]["env"], env);
}

#[test]
fn the_service_shows_the_first_port_only() {
    let cases = [
        (json!({ "name": "ml" }), 8888),
        (json!({ "name": "ml", "ports": [{ "containerPort": 2209 }] }), 2209),
        (json!({ "name": "ml", "ports": [{ "containerPort": 80 }, { "containerPort": 2209 }] }), 80),
    ];
    for (container, target) in cases {
        let made = json!(service(&notebook(&json!({}), &container)));
        let port = json!([{ "name": "http-ml", "port": 80, "targetPort": target, "protocol": "TCP" }]);
        assert_eq!(made["spec"]["ports"], port, "{container}");
        assert_eq!(made["spec"]["selector"], json!({ "statefulset": "ml" }));
    }
}

#[test]
fn what_crashes_upstream_is_refused() {
    let mut empty = object(&json!({}), &json!({ "name": "ml" }));
    empty.data["spec"]["template"]["spec"]["containers"] = json!([]);
    assert!(Notebook::parse(&empty).is_err());
    assert!(Notebook::parse(&object(&json!({}), &json!({ "name": "ml", "ports": [] }))).is_err());
}

#[test]
fn a_stateful_set_keeps_its_pods_labels_but_not_its_own() {
    let mut found = stateful_set(&plain());
    found.metadata.labels = Some(BTreeMap::from([("mine".to_owned(), "1".to_owned())]));
    let labels = json!({ "labels": { "late": "1" }, "annotations": { STOPPED: "" } });
    let wanted = stateful_set(&notebook(&labels, &json!({ "name": "ml", "image": "new" })));
    assert!(take_over_stateful_set(&wanted, &mut found));
    let found = json!(found);
    assert_eq!(found["metadata"]["labels"], Value::Null);
    assert_eq!(found["spec"]["replicas"], 0);
    let template = &found["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["late"], Value::Null);
    assert_eq!(template["spec"]["containers"][0]["image"], "new");
}

#[test]
fn a_foreign_service_is_taken_over() {
    let wanted = service(&plain());
    let mut found = service(&Notebook { name: "other".to_owned(), ..plain() });
    assert!(take_over_service(&wanted, &mut found));
    assert_eq!(found.metadata.name.as_deref(), Some("other"));
    assert_eq!(found.spec, wanted.spec);
    assert!(!take_over_service(&wanted, &mut found), "a second time changes nothing");
}

#[test]
fn the_status_mirrors_the_pod() {
    let now = Time(Timestamp::UNIX_EPOCH);
    let running = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
    let pod: Pod = serde_json::from_value(json!({ "status": {
        "conditions": [{ "type": "Ready", "status": "True", "reason": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        "containerStatuses": [
            { "name": "side", "state": { "waiting": {} }, "image": "", "imageID": "",
                "ready": true, "restartCount": 0 },
            { "name": "ml", "state": running, "image": "", "imageID": "",
                "ready": true, "restartCount": 0 },
        ],
    }}))
    .expect("a pod");
    let set: StatefulSet =
        serde_json::from_value(json!({ "status": { "replicas": 1, "readyReplicas": 1 } })).expect("a stateful set");
    let nothing = json!({ "conditions": [], "readyReplicas": 0, "containerState": {} });
    assert_eq!(status(&plain(), None, None, &now), nothing);
    assert_eq!(status(&plain(), None, Some(&Pod::default()), &now), nothing);
    let made = status(&plain(), Some(&set), Some(&pod), &now);
    let expected = json!({
        "conditions": [{ "type": "Ready", "status": "True",
            "lastProbeTime": "1970-01-01T00:00:00Z",
            "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        "readyReplicas": 1,
        "containerState": running,
    });
    assert_eq!(made, expected);
    let later = Time(Timestamp::from_second(9).expect("a time"));
    assert!(same(&made, &status(&plain(), Some(&set), Some(&pod), &later)));
    assert!(!same(&made, &nothing));
}
