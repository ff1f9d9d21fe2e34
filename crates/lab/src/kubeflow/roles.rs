//! The `ClusterRoles` that Kubeflow's bindings refer to, in a smaller edition.
//!
//! Follows `common/kubeflow-roles/base/cluster-roles.yaml` of kubeflow/manifests and
//! `components/notebook-controller/config/rbac/user_cluster_roles.yaml` of kubeflow/notebooks in what
//! matters to Fairlead, and in how further rules are added: by the label
//! `rbac.authorization.kubeflow.org/aggregate-to-kubeflow-…`.

use anyhow::Context as _;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::settle::settle;

/// Creates the roles that are missing, and leaves alone what is there.
pub(super) async fn ensure(client: &Client) -> anyhow::Result<()> {
    let api: Api<ClusterRole> = Api::all(client.clone());
    for role in roles() {
        let role: ClusterRole = serde_json::from_value(role).context("reading a cluster role")?;
        settle(&api, &role, |_, _| false).await?;
    }
    Ok(())
}

/// Three roles that gather rules and three that carry them. The gatherers start with the rules they
/// would gather, for a lab without the controller manager that does it.
fn roles() -> Vec<Value> {
    let (view, edit, admin) = (view(), edit(), admin());
    let with = |one: &[Value], other: &[Value]| [one, other].concat();
    let everything_edit = with(&view, &edit);
    let everything_admin = with(&everything_edit, &admin);
    vec![
        gatherer("view", Some("edit"), &view),
        gatherer("edit", Some("admin"), &everything_edit),
        gatherer("admin", None, &everything_admin),
        carrier("view", &view),
        carrier("edit", &edit),
        carrier("admin", &admin),
    ]
}

fn label(role: &str) -> String {
    format!("rbac.authorization.kubeflow.org/aggregate-to-kubeflow-{role}")
}

fn gatherer(role: &str, into: Option<&str>, rules: &[Value]) -> Value {
    let mut labels = json!({});
    if let Some(into) = into {
        labels[label(into)] = json!("true");
    }
    json!({
        "metadata": { "name": format!("kubeflow-{role}"), "labels": labels },
        "aggregationRule": {
            "clusterRoleSelectors": [{ "matchLabels": { label(role): "true" } }],
        },
        "rules": rules,
    })
}

fn carrier(role: &str, rules: &[Value]) -> Value {
    json!({
        "metadata": {
            "name": format!("kubeflow-kubernetes-{role}"),
            "labels": { label(role): "true" },
        },
        "rules": rules,
    })
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> Value {
    json!({ "apiGroups": [group], "resources": resources, "verbs": verbs })
}

const LOOK: [&str; 3] = ["get", "list", "watch"];
const CHANGE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

fn view() -> Vec<Value> {
    let core = [
        "configmaps",
        "endpoints",
        "events",
        "namespaces",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "resourcequotas",
        "serviceaccounts",
        "services",
    ];
    vec![
        rule("", &core, &LOOK),
        rule("apps", &["deployments", "replicasets", "statefulsets"], &LOOK),
        rule("networking.k8s.io", &["ingresses", "networkpolicies"], &LOOK),
        rule("kubeflow.org", &["notebooks", "notebooks/status"], &LOOK),
    ]
}

/// Note what an editor already has upstream: a shell in every Pod, every port, every Secret.
fn edit() -> Vec<Value> {
    let inside = ["pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "services/proxy"];
    let core = ["configmaps", "endpoints", "persistentvolumeclaims", "pods", "secrets", "serviceaccounts", "services"];
    vec![
        rule("", &inside, &[&LOOK[..], &CHANGE[..]].concat()),
        rule("", &["secrets"], &LOOK),
        rule("", &core, &CHANGE),
        rule("apps", &["deployments", "replicasets", "statefulsets"], &CHANGE),
        rule("apps", &["deployments/scale", "statefulsets/scale"], &CHANGE),
        rule("networking.k8s.io", &["ingresses", "networkpolicies"], &CHANGE),
        rule("kubeflow.org", &["notebooks", "notebooks/status"], &CHANGE),
    ]
}

fn admin() -> Vec<Value> {
    let everything = [&LOOK[..], &CHANGE[..]].concat();
    vec![
        rule("authorization.k8s.io", &["localsubjectaccessreviews"], &["create"]),
        rule("rbac.authorization.k8s.io", &["rolebindings", "roles"], &everything),
    ]
}
