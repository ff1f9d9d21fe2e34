//! What Kubeflow's access management (kfam) writes when a namespace's owner adds a contributor.
//!
//! Follows `components/access-management/kfam/bindings.go` of kubeflow/dashboard, called as the
//! central dashboard calls it (`components/centraldashboard/app/api_workgroup.ts`: user kind `User`,
//! role kind `ClusterRole`).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::rbac::v1::{RoleBinding, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::api::DynamicObject;
use serde_json::json;

use super::policy;

/// What a person may do in a namespace, in the dashboard's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, including letting others in.
    Admin,
    /// Everything but letting others in. The dashboard's "contributor".
    Edit,
    /// Looking only.
    View,
}

impl Role {
    /// The word in the annotation `role` and in the binding's name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Edit => "edit",
            Self::View => "view",
        }
    }

    /// The `ClusterRole` it stands for (`roleBindingNameMap` in `bindings.go`).
    #[must_use]
    pub const fn cluster_role(self) -> &'static str {
        match self {
            Self::Admin => "kubeflow-admin",
            Self::Edit => "kubeflow-edit",
            Self::View => "kubeflow-view",
        }
    }
}

/// The `RoleBinding` and the `AuthorizationPolicy` that make `user` a contributor to `namespace`
/// (`BindingClient.Create` in `bindings.go`), both of one name.
#[must_use]
pub fn contributor(namespace: &str, user: &str, role: Role) -> (RoleBinding, DynamicObject) {
    let metadata = ObjectMeta {
        name: Some(binding_name(user, role)),
        namespace: Some(namespace.to_owned()),
        annotations: Some(annotations(user, role)),
        ..ObjectMeta::default()
    };
    let binding = RoleBinding {
        metadata: metadata.clone(),
        role_ref: role_ref(role),
        subjects: Some(vec![Subject {
            // kfam leaves the group out and the API server fills in this one.
            api_group: Some("rbac.authorization.k8s.io".to_owned()),
            kind: "User".to_owned(),
            name: user.to_owned(),
            namespace: None,
        }]),
    };
    let name = metadata.name.clone().unwrap_or_default();
    let mut policy =
        DynamicObject::new(&name, &policy::resource()).data(json!({ "spec": { "rules": [policy::lets_in(user)] } }));
    policy.metadata = metadata;
    (binding, policy)
}

/// The annotations by which kfam finds its bindings again.
pub(super) fn annotations(user: &str, role: Role) -> BTreeMap<String, String> {
    let pairs = [("user", user), ("role", role.word())];
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A binding's reference to the role's `ClusterRole`.
pub(super) fn role_ref(role: Role) -> RoleRef {
    RoleRef {
        api_group: Some("rbac.authorization.k8s.io".to_owned()),
        kind: "ClusterRole".to_owned(),
        name: role.cluster_role().to_owned(),
    }
}

/// `user-<name>-clusterrole-<role>` in lower case, each run of anything but ASCII letters and digits
/// one `-` (`getBindingName` in `bindings.go`). Its fault: different people may get the same name.
fn binding_name(user: &str, role: Role) -> String {
    let mut name = String::new();
    for letter in format!("user-{user}-clusterrole-{}", role.word()).chars() {
        if letter.is_ascii_alphanumeric() {
            name.push(letter.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kfams_with_their_collisions() {
        let cases = [
            ("alice@example.com", Role::Edit, "user-alice-example-com-clusterrole-edit"),
            ("Alice.B@example.com", Role::View, "user-alice-b-example-com-clusterrole-view"),
            ("alice-b@example.com", Role::View, "user-alice-b-example-com-clusterrole-view"),
            ("a..b__c@x", Role::Admin, "user-a-b-c-x-clusterrole-admin"),
            ("zoë@", Role::Edit, "user-zo-clusterrole-edit"),
        ];
        for (user, role, name) in cases {
            assert_eq!(binding_name(user, role), name, "{user}");
        }
    }

    #[test]
    fn both_objects_say_who_and_what() {
        let (binding, policy) = contributor("team", "Bob@x.org", Role::View);
        assert_eq!(binding.metadata, policy.metadata);
        assert_eq!(binding.metadata.namespace.as_deref(), Some("team"));
        assert_eq!(binding.metadata.annotations, Some(annotations("Bob@x.org", Role::View)));
        assert_eq!(binding.role_ref.name, "kubeflow-view");
        let rule = &policy.data["spec"]["rules"][0];
        assert_eq!(rule["when"][0]["key"], "request.headers[kubeflow-userid]");
        assert_eq!(rule["when"][0]["values"], json!(["Bob@x.org"]));
    }
}
