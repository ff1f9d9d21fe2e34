//! Every right that the server needs in the cluster, and what for. `check` asks for each; the manifests grant them.

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
}

const LIST: &[&str] = &["list"];
const FOLLOW: &[&str] = &["list", "watch"];

/// All of them.
pub const RIGHTS: &[Right] = &[
    cluster("kubeflow.org", "notebooks", FOLLOW, "which notebooks there are"),
    cluster("kubeflow.org", "notebooks", &["patch"], "to start and stop notebooks for who asks on the page"),
    cluster("kubeflow.org", "profiles", FOLLOW, "whose each profile is"),
    cluster("", "namespaces", FOLLOW, "whose each profile is, and the admin's switch"),
    cluster("rbac.authorization.k8s.io", "rolebindings", FOLLOW, "who contributes to each profile"),
    cluster("apps", "statefulsets", FOLLOW, "which Pod is which notebook's, by owners"),
    cluster("", "pods", &["get", "list", "watch"], "the notebooks' addresses, and since when a container runs"),
    cluster("", "nodes", FOLLOW, "addresses that no Pod can have"),
    cluster("", "services", FOLLOW, "addresses that no Pod can have"),
    cluster("", "secrets", &["get", "create", "patch"], "a Secret for each notebook, written by server-side apply"),
    cluster("", "pods/status", &["patch"], "to make the kubelet look at a changed Secret at once"),
    cluster("networking.k8s.io", "networkpolicies", LIST, "to say which one keeps people out of a notebook"),
    cluster("security.istio.io", "authorizationpolicies", LIST, "the same, in a mesh"),
    cluster("security.istio.io", "peerauthentications", LIST, "the same, in a mesh"),
    cluster("events.k8s.io", "events", &["create", "patch"], "to say on the Notebook what is wrong"),
    Right {
        scope: Scope::Cluster,
        group: "admissionregistration.k8s.io",
        resource: "mutatingwebhookconfigurations",
        names: &["fairlead"],
        verbs: &["get", "patch"],
        why: "to make the API server trust the webhook's certificate",
    },
    Right {
        scope: Scope::Own,
        group: "",
        resource: "secrets",
        names: &["fairlead-identity", "fairlead-webhook"],
        verbs: &["get", "update"],
        why: "to rotate the host CA and to renew the webhook's certificate",
    },
];

const fn cluster(
    group: &'static str,
    resource: &'static str,
    verbs: &'static [&'static str],
    why: &'static str,
) -> Right {
    Right { scope: Scope::Cluster, group, resource, names: &[], verbs, why }
}
