//! What the profile controller makes of a Profile: a namespace and who may do what in it.
//!
//! Follows `components/profile-controller/controllers/profile_controller.go` of kubeflow/dashboard,
//! branch `main`, with the labels of its overlay `kubeflow-pss` and its settings at their defaults.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, ResourceQuota, ResourceQuotaSpec, ServiceAccount},
        rbac::v1::{RoleBinding, Subject},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde::Deserialize as _;
use serde_json::json;

use super::{
    contributor::{Role, annotations, role_ref},
    policy,
};

pub(super) mod controller;
#[cfg(test)]
mod tests;

/// The labels of a profile's namespace, from
/// `overlays/kubeflow-pss/namespace-labels-kubeflow-pss.yaml` beside the controller.
pub const NAMESPACE_LABELS: [(&str, &str); 5] = [
    ("app.kubernetes.io/part-of", "kubeflow-profile"),
    ("katib.kubeflow.org/metrics-collector-injection", "enabled"),
    ("pipelines.kubeflow.org/enabled", "true"),
    ("serving.kubeflow.org/inferenceservice", "enabled"),
    ("pod-security.kubernetes.io/enforce", "baseline"),
];

/// A Profile as far as its controller reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Its name, which is also its namespace's.
    pub name: String,
    /// Whose it is, as a binding's subject.
    pub owner: Subject,
    /// What its namespace may use up, unless nothing is limited.
    pub quota: Option<ResourceQuotaSpec>,
}

impl Profile {
    /// Reads a Profile of any version. One without an owner's kind or name is refused; upstream
    /// makes its namespace and then fails at the binding.
    pub fn parse(object: &DynamicObject) -> anyhow::Result<Self> {
        let spec = &object.data["spec"];
        let owner = Subject::deserialize(&spec["owner"]).context("reading `spec.owner`")?;
        ensure!(!owner.kind.is_empty() && !owner.name.is_empty(), "`spec.owner` is incomplete");
        let quota = Option::<ResourceQuotaSpec>::deserialize(&spec["resourceQuotaSpec"])
            .context("reading `spec.resourceQuotaSpec`")?;
        let limits = |quota: &ResourceQuotaSpec| quota.hard.as_ref().is_some_and(|all| !all.is_empty());
        Ok(Self { name: object.name_any(), owner, quota: quota.filter(limits) })
    }
}

/// The Profile's resource in the version its controller reads and writes.
#[must_use]
pub fn resource() -> ApiResource {
    let gvk = GroupVersionKind::gvk("kubeflow.org", "v1", "Profile");
    ApiResource::from_gvk_with_plural(&gvk, "profiles")
}

/// The Profile's namespace: its owner as an annotation, and Istio's sidecars in every Pod.
#[must_use]
pub fn namespace(profile: &Profile) -> Namespace {
    let owner = ("owner".to_owned(), profile.owner.name.clone());
    let mut namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(profile.name.clone()),
            annotations: Some(BTreeMap::from([owner])),
            labels: Some(BTreeMap::from([("istio-injection".to_owned(), "enabled".to_owned())])),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    add_labels(&mut namespace);
    namespace
}

/// Adds the labels a namespace lacks and says whether it lacked any (`setNamespaceLabels`).
///
/// A label that is there keeps its value, and upstream never gives `istio-injection` back to a
/// namespace that lost it.
pub(super) fn add_labels(namespace: &mut Namespace) -> bool {
    let labels = namespace.metadata.labels.get_or_insert_default();
    let before = labels.len();
    for (key, value) in NAMESPACE_LABELS {
        labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    labels.len() != before
}

/// Why a namespace that is already there is not the Profile's, in upstream's words.
///
/// Its owner's name in the annotation must be the Profile's to the letter, so a Profile whose owner
/// is changed is refused as well.
pub(super) fn refusal(profile: &Profile, found: &Namespace) -> Option<String> {
    let owner = found.annotations().get("owner");
    (owner != Some(&profile.owner.name))
        .then(|| format!("namespace already exist, but not owned by profile creator {}", profile.owner.name))
}

/// The two `ServiceAccounts` of a profile's namespace, each with its role (`updateServiceAccount`).
#[must_use]
pub fn service_accounts(profile: &Profile) -> [(ServiceAccount, RoleBinding); 2] {
    [("default-editor", Role::Edit), ("default-viewer", Role::View)].map(|(name, role)| {
        let account = ServiceAccount { metadata: metadata(profile, name), ..Default::default() };
        let binding = RoleBinding {
            metadata: metadata(profile, name),
            role_ref: role_ref(role),
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: name.to_owned(),
                namespace: Some(profile.name.clone()),
                api_group: None,
            }]),
        };
        (account, binding)
    })
}

/// The binding `namespaceAdmin` that makes the owner the namespace's administrator.
#[must_use]
pub fn owner_binding(profile: &Profile) -> RoleBinding {
    let mut metadata = metadata(profile, "namespaceAdmin");
    metadata.annotations = Some(annotations(&profile.owner.name, Role::Admin));
    RoleBinding { metadata, role_ref: role_ref(Role::Admin), subjects: Some(vec![profile.owner.clone()]) }
}

/// The policy `ns-owner-access-istio` (`getAuthorizationPolicy`). Its second rule names no HTTP
/// field: it lets every Pod of the namespace reach every other one on any TCP port.
#[must_use]
pub fn owner_policy(profile: &Profile) -> DynamicObject {
    let culler = "cluster.local/ns/kubeflow/sa/notebook-controller-service-account";
    let probes = ["/healthz", "/metrics", "/wait-for-drain"];
    let name = "ns-owner-access-istio";
    let mut policy = DynamicObject::new(name, &policy::resource()).data(json!({ "spec": { "rules": [
        policy::lets_in(&profile.owner.name),
        { "when": [{ "key": "source.namespace", "values": [profile.name] }] },
        { "to": [{ "operation": { "paths": probes } }] },
        {
            "from": [{ "source": { "principals": [culler] } }],
            "to": [{ "operation": { "methods": ["GET"], "paths": ["*/api/kernels"] } }],
        },
    ] } }));
    policy.metadata = metadata(profile, name);
    policy.metadata.annotations = Some(annotations(&profile.owner.name, Role::Admin));
    policy
}

/// The quota `kf-resource-quota`, if the Profile limits anything.
#[must_use]
pub fn quota(profile: &Profile) -> Option<ResourceQuota> {
    profile.quota.clone().map(|spec| ResourceQuota {
        metadata: metadata(profile, "kf-resource-quota"),
        spec: Some(spec),
        status: None,
    })
}

fn metadata(profile: &Profile, name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), namespace: Some(profile.name.clone()), ..ObjectMeta::default() }
}
