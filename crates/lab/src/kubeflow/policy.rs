//! What Kubeflow's two writers of `AuthorizationPolicies` share: the gateway's word for a person.

use kube::api::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

/// The header that carries the person, from `params.env` of the profile controller's `kubeflow`
/// overlay. The prefix before the person is empty there.
const USER_HEADER: &str = "kubeflow-userid";

/// Who may say it: defaults of `ISTIO_INGRESS_GATEWAY_PRINCIPAL` and `KFP_UI_PRINCIPAL` in
/// `profile_controller.go` and `kfam/bindings.go`.
const TRUSTED: [&str; 2] = [
    "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account",
    "cluster.local/ns/kubeflow/sa/ml-pipeline-ui",
];

/// Istio's `AuthorizationPolicy` in the version Kubeflow writes.
pub(super) fn resource() -> ApiResource {
    let gvk = GroupVersionKind::gvk("security.istio.io", "v1beta1", "AuthorizationPolicy");
    ApiResource::from_gvk_with_plural(&gvk, "authorizationpolicies")
}

/// The rule that lets in a request the gateway says is `user`'s.
pub(super) fn lets_in(user: &str) -> Value {
    json!({
        "from": [{ "source": { "principals": TRUSTED } }],
        "when": [{ "key": format!("request.headers[{USER_HEADER}]"), "values": [user] }],
    })
}
