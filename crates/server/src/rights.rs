//! Every right that the server needs in the cluster, and what for. `check` asks for each; the manifests grant them.

use crate::settings::Part;

/// Where a right is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In the whole cluster.
    Cluster,
    /// In Fairlead's own namespace.
    Own,
}

/// A right in the words of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Right {
    /// Where.
    pub scope: Scope,
    /// The API group; empty for the core's.
    pub group: &'static str,
    /// The resource, with a subresource after a slash.
    pub resource: &'static str,
    /// The objects' names; all where none is given.
    pub names: &'static [&'static str],
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// What for.
    pub why: &'static str,
    /// The parts that need it.
    pub parts: &'static [Part],
}

const FOLLOW: &[&str] = &["list", "watch"];
const WRITE: &[&str] = &["create", "patch", "delete"];
const ISTIO: &str = "security.istio.io";
/// Whoever needs it: gateways and page read, and nothing else.
const ALL: &[Part] = &[Part::Operator, Part::Webhook, Part::Gateway, Part::Page];
const OPERATOR: &[Part] = &[Part::Operator];
const WEBHOOK: &[Part] = &[Part::Webhook];

/// All of them.
pub const RIGHTS: &[Right] = &[
    follow("kubeflow.org", "notebooks", "which notebooks there are"),
    follow("kubeflow.org", "profiles", "whose each profile is"),
    follow("", "namespaces", "whose each profile is, and the admin's switch"),
    follow("rbac.authorization.k8s.io", "rolebindings", "who contributes to each profile"),
    follow("apps", "statefulsets", "which Pod is which notebook's, by owners"),
    follow("", "pods", "the notebooks' addresses, and the gateways'"),
    follow("", "nodes", "addresses that no Pod can have"),
    follow("", "services", "addresses that no Pod can have"),
    operate("kubeflow.org", "notebooks", &["patch"], "to start and stop notebooks for who asks on the page"),
    operate("", "pods", &["get"], "since when a container runs"),
    Right {
        parts: &[Part::Operator, Part::Webhook],
        ..operate(
            "",
            "secrets",
            &["get", "create", "patch"],
            "a Secret for each notebook, written by server-side apply",
        )
    },
    operate("", "pods/status", &["patch"], "to make the kubelet look at a changed Secret at once"),
    operate("networking.k8s.io", "networkpolicies", FOLLOW, "to say which one keeps people out of a notebook"),
    operate(ISTIO, "authorizationpolicies", FOLLOW, "the same, in a mesh"),
    operate(ISTIO, "peerauthentications", FOLLOW, "the same, in a mesh"),
    named(
        operate("networking.k8s.io", "networkpolicies", WRITE, "to let gateways alone reach notebooks, where wished"),
        &["fairlead-ssh"],
    ),
    named(
        operate(ISTIO, "authorizationpolicies", WRITE, "the same, in a mesh"),
        &["fairlead-ssh-allow", "fairlead-ssh-deny"],
    ),
    operate(ISTIO, "peerauthentications", WRITE, "to take SSH from gateways without the mesh's TLS"),
    operate("events.k8s.io", "events", &["create", "patch"], "to say on the Notebook what is wrong"),
    named(
        Right {
            parts: WEBHOOK,
            ..operate(
                "admissionregistration.k8s.io",
                "mutatingwebhookconfigurations",
                &["get", "patch"],
                "to make the API server trust the webhook's certificate",
            )
        },
        &["fairlead"],
    ),
    Right {
        scope: Scope::Own,
        parts: &[Part::Operator, Part::Webhook],
        ..named(
            operate("", "secrets", &["get", "update"], "to rotate the host CA and to renew the webhook's certificate"),
            &["fairlead-identity", "fairlead-webhook"],
        )
    },
    Right { scope: Scope::Own, ..operate("coordination.k8s.io", "leases", &["create"], "to be elected leader") },
    Right {
        scope: Scope::Own,
        ..named(
            operate("coordination.k8s.io", "leases", &["get", "update"], "to be elected leader"),
            &["fairlead-operator"],
        )
    },
];

/// Those that some parts need.
pub fn rights_of(parts: &[Part]) -> impl Iterator<Item = &'static Right> {
    RIGHTS.iter().filter(|right| right.parts.iter().any(|part| parts.contains(part)))
}

const fn follow(group: &'static str, resource: &'static str, why: &'static str) -> Right {
    Right { parts: ALL, ..operate(group, resource, FOLLOW, why) }
}

const fn operate(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right { scope: Scope::Cluster, group, resource, names: &[], verbs, why, parts: OPERATOR }
}

const fn named(right: Right, names: &'static [&'static str]) -> Right {
    Right { names, ..right }
}
