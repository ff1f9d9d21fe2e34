//! What the stand-in makes of a Profile, against what upstream's sources do.

use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::*;

fn object(spec: &Value) -> DynamicObject {
    serde_json::from_value(json!({
        "apiVersion": "kubeflow.org/v1",
        "kind": "Profile",
        "metadata": { "name": "team" },
        "spec": spec,
    }))
    .expect("a profile")
}

fn profile() -> Profile {
    let owner = json!({ "kind": "User", "name": "ann@x.org" });
    Profile::parse(&object(&json!({ "owner": owner }))).expect("a profile that parses")
}

#[test]
fn the_namespace_carries_owner_and_labels() {
    let made = json!(namespace(&profile()));
    assert_eq!(made["metadata"]["annotations"], json!({ "owner": "ann@x.org" }));
    let labels = &made["metadata"]["labels"];
    assert_eq!(labels["istio-injection"], "enabled");
    assert_eq!(labels["app.kubernetes.io/part-of"], "kubeflow-profile");
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(labels.as_object().map(serde_json::Map::len), Some(6));
}

#[test]
fn labels_are_added_never_changed() {
    let mut found = Namespace::default();
    let restricted = ("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    found.metadata.labels = Some(BTreeMap::from([restricted.clone()]));
    assert!(add_labels(&mut found));
    assert_eq!(found.labels().get(&restricted.0), Some(&restricted.1));
    assert!(!found.labels().contains_key("istio-injection"), "lost for good, as upstream");
    assert!(!add_labels(&mut found), "a second time changes nothing");
}

#[test]
fn a_namespace_is_only_its_owners() {
    let cases = [(Some("ann@x.org"), false), (Some("Ann@x.org"), true), (None, true)];
    for (owner, refused) in cases {
        let mut found = namespace(&profile());
        let annotation = owner.map(|owner| ("owner".to_owned(), owner.to_owned()));
        found.metadata.annotations = Some(annotation.into_iter().collect());
        assert_eq!(refusal(&profile(), &found).is_some(), refused, "{owner:?}");
    }
}

#[test]
fn accounts_and_owner_get_their_roles() {
    let bindings = service_accounts(&profile()).map(|(_, binding)| binding);
    let [editor, viewer] = bindings.map(|binding| json!(binding));
    assert_eq!(editor["roleRef"]["name"], "kubeflow-edit");
    assert_eq!(
        editor["subjects"],
        json!([{ "kind": "ServiceAccount", "name": "default-editor", "namespace": "team" }])
    );
    assert_eq!(viewer["metadata"]["name"], "default-viewer");
    assert_eq!(viewer["roleRef"]["name"], "kubeflow-view");
    let owner = json!(owner_binding(&profile()));
    assert_eq!(owner["metadata"]["name"], "namespaceAdmin");
    assert_eq!(owner["metadata"]["annotations"], json!({ "user": "ann@x.org", "role": "admin" }));
    assert_eq!(owner["roleRef"]["name"], "kubeflow-admin");
    assert_eq!(owner["subjects"], json!([{ "kind": "User", "name": "ann@x.org" }]));
}

#[test]
fn the_policy_lets_in_owner_neighbours_probes_and_culler() {
    let made = owner_policy(&profile());
    assert_eq!(made.name_any(), "ns-owner-access-istio");
    let rules = &made.data["spec"]["rules"];
    assert_eq!(rules.as_array().map(Vec::len), Some(4));
    assert_eq!(rules[0]["when"][0]["values"], json!(["ann@x.org"]));
    assert_eq!(rules[1], json!({ "when": [{ "key": "source.namespace", "values": ["team"] }] }));
    assert_eq!(rules[3]["to"][0]["operation"]["paths"], json!(["*/api/kernels"]));
    assert_eq!(made.data["spec"]["action"], Value::Null, "ALLOW is the default and left out");
}

#[test]
fn only_a_quota_that_limits_counts() {
    let owner = json!({ "kind": "User", "name": "ann@x.org" });
    let cases = [
        (json!(null), false),
        (json!({}), false),
        (json!({ "hard": {} }), false),
        (json!({ "hard": { "cpu": "2" } }), true),
    ];
    for (limits, counts) in cases {
        let spec = json!({ "owner": owner, "resourceQuotaSpec": limits });
        let profile = Profile::parse(&object(&spec)).expect("a profile that parses");
        assert_eq!(quota(&profile).is_some(), counts, "{limits}");
    }
}

#[test]
fn an_ownerless_profile_is_refused() {
    for owner in [json!(null), json!({}), json!({ "kind": "User", "name": "" })] {
        assert!(Profile::parse(&object(&json!({ "owner": owner }))).is_err(), "{owner}");
    }
}
