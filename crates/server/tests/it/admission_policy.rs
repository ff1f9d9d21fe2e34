//! `deploy/admission-policy` on a real API server: what the operator writes passes, and what it must not is refused,
//! even with all rights that RBAC knows.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_lab::apiserver;
use fairlead_lab::control_plane::ControlPlane;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::cluster::{SYSTEM, eventually, owner};
use crate::manifests::{bash, deploy, one, shipped};

const PROFILE: &str = "team-a";
/// Another, where somebody else was first with the names.
const TAKEN: &str = "team-b";
/// Something in base64, as `caBundle` is.
const PEM: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==";

/// Somebody with a client. Nothing is kept: each request is a dry run, which passes admission as any other.
struct Writer {
    client: Client,
    /// Whether RBAC lets them do everything, so that the policies alone stand in the way.
    unbound: bool,
}

impl Writer {
    async fn status(&self, change: Value) -> Result<(), Error> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), PROFILE);
        pods.patch_status("ml-0", &PatchParams::default().dry_run(), &Patch::Merge(change)).await.map(drop)
    }

    async fn notebook(&self, change: Value) -> Result<(), Error> {
        let api = self.any(PROFILE, "kubeflow.org/v1", "Notebook");
        api.patch("ml", &PatchParams::default().dry_run(), &Patch::Merge(change)).await.map(drop)
    }

    async fn webhook(&self, name: &str, change: Value) -> Result<(), Error> {
        let all: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let change = Patch::<()>::Json(serde_json::from_value(change).unwrap());
        all.patch(name, &PatchParams::default().dry_run(), &change).await.map(drop)
    }

    async fn apply(&self, namespace: &str, version: &str, kind: &str, object: Value) -> Result<(), Error> {
        let mut object = object;
        (object["apiVersion"], object["kind"]) = (version.into(), kind.into());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let api = self.any(namespace, version, kind);
        let apply = PatchParams::apply("fairlead").force().dry_run();
        api.patch(&name, &apply, &Patch::Apply(object)).await.map(drop)
    }

    async fn secret(&self, namespace: &str, object: Value) -> Result<(), Error> {
        self.apply(namespace, "v1", "Secret", object).await
    }

    async fn delete(&self, version: &str, kind: &str, name: &str) -> Result<(), Error> {
        self.any(PROFILE, version, kind).delete(name, &DeleteParams::default().dry_run()).await.map(drop)
    }

    /// By a policy; or by RBAC, which is asked first, where it counts.
    #[track_caller]
    fn refused(&self, done: Result<(), Error>, message: &str) {
        let said = done.expect_err("it passed").to_string();
        let by_policy = said.contains("ValidatingAdmissionPolicy 'fairlead-") && said.contains(message);
        let by_rbac = !self.unbound && said.contains("is forbidden: User \"system:serviceaccount:");
        assert!(by_policy || by_rbac, "{said}");
    }

    fn any(&self, namespace: &str, version: &str, kind: &str) -> Api<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        Api::namespaced_with(
            self.client.clone(),
            namespace,
            &ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind)),
        )
    }
}

#[track_caller]
fn passes(done: Result<(), Error>) {
    if let Err(error) = done {
        panic!("refused: {error}");
    }
}

fn secret(name: &str, owner: Option<Value>) -> Value {
    let labels = json!({"app.kubernetes.io/managed-by": "fairlead"});
    let owners: Vec<Value> = owner.into_iter().collect();
    json!({"metadata": {"name": name, "labels": labels, "ownerReferences": owners}, "type": "Opaque",
        "stringData": {"authorized_keys": "none"}})
}

fn with(object: &Value, path: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = path.rsplit_once('/').unwrap();
    object.pointer_mut(parent).unwrap()[field] = value;
    object
}

/// What does not need a server that knows the kind: all is bound and denies, and no expression names what is not there.
#[test]
fn each_policy_is_bound_and_its_expressions_name_what_there_is() {
    let all = shipped("admission-policy");
    let policies: Vec<&Value> = all.iter().filter(|one| one["kind"] == "ValidatingAdmissionPolicy").collect();
    assert_eq!(policies.len(), 7);
    let about = |fields: &'static str| fields.split(' ').collect::<Vec<_>>();
    let metas = about("name labels annotations finalizers ownerReferences");
    let webhook = about(
        "name clientConfig rules failurePolicy matchPolicy matchConditions namespaceSelector objectSelector \
                         reinvocationPolicy sideEffects timeoutSeconds admissionReviewVersions",
    );
    let specs = about("action rules selector mtls portLevelMtls policyTypes podSelector ingress");
    for policy in policies {
        let spec = &policy["spec"];
        let name = policy["metadata"]["name"].as_str().unwrap();
        let binding = &one(&all, "ValidatingAdmissionPolicyBinding", name)["spec"];
        assert_eq!(*binding, json!({"policyName": name, "validationActions": ["Deny"]}));
        assert_eq!(spec["failurePolicy"], "Fail", "{name}");
        let who = spec["matchConditions"][0]["expression"].as_str().unwrap();
        for account in ["fairlead", "fairlead-operator"] {
            assert!(who.contains(&format!("'system:serviceaccount:{SYSTEM}:{account}'")), "{name}: {who}");
        }
        let declared: Vec<&str> =
            spec["variables"].as_array().into_iter().flatten().map(|one| one["name"].as_str().unwrap()).collect();
        let texts = ["variables", "validations"].map(|part| spec[part].as_array().into_iter().flatten());
        for text in texts.into_iter().flatten().map(|one| one["expression"].as_str().unwrap()) {
            for path in paths(text) {
                let known = match path.as_slice() {
                    ["variables", one, ..] => declared.contains(one),
                    ["object" | "oldObject" | "namespaceObject", "metadata", field, ..] => metas.contains(field),
                    ["object" | "oldObject", "spec", field, ..] => specs.contains(field),
                    ["object" | "oldObject", field] | ["object" | "oldObject", field, ..] => {
                        ["spec", "status", "type", "webhooks"].contains(field)
                    }
                    ["one" | "old", field, ..] if name == "fairlead-webhooks" => webhook.contains(field),
                    ["request", field, ..] => ["operation", "name", "namespace"].contains(field),
                    _ => true,
                };
                assert!(known, "{name}: {path:?}");
            }
        }
    }
}

/// What an expression reads: `object.metadata.?labels` as three words.
fn paths(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || ".?_".contains(c)));
    words.filter(|word| word.contains('.')).map(|word| word.split('.').map(|part| part.trim_matches('?')).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_writes_what_it_has_to_and_nothing_else() {
    let plane = ControlPlane::start().await.unwrap();
    let admin = plane.client().await.unwrap();
    let served = admin.list_api_group_resources("admissionregistration.k8s.io/v1").await.unwrap();
    if !served.resources.iter().any(|kind| kind.name == "validatingadmissionpolicies") {
        eprintln!(
            "this API server knows no ValidatingAdmissionPolicy, so nothing was shown: Kubernetes 1.30 or newer does\n\
             hint: FAIRLEAD_KUBE_BIN=DIR names a folder with its binaries"
        );
        return;
    }
    let stage = Stage::set(&plane, &admin).await;
    for (account, unbound) in
        [("fairlead", false), ("fairlead-operator", false), ("fairlead", true), ("fairlead-operator", true)]
    {
        let user = format!("system:serviceaccount:{SYSTEM}:{account}");
        let client = apiserver::client_as(&plane.kubeconfig, Some(&user)).await.unwrap();
        let operator = Writer { client, unbound };
        if unbound {
            let bind = format!(
                "kubectl create clusterrolebinding {account}-unbound --clusterrole=cluster-admin --user={user}"
            );
            bash(&bind, &deploy(), "", Some(&plane.kubeconfig));
        }
        enforced(&operator).await;
        pods(&operator).await;
        notebooks(&operator).await;
        webhooks(&operator).await;
        secrets(&operator, &stage).await;
        authorization_policies(&operator).await;
        peer_authentications(&operator, &stage).await;
        network_policies(&operator).await;
    }
    // Nobody else is meant.
    let other = Writer { client: admin, unbound: true };
    passes(other.status(json!({"metadata": {"annotations": {"a": "b"}}})).await);
    passes(other.notebook(json!({"spec": {"a": "b"}})).await);
    passes(other.secret(PROFILE, json!({"metadata": {"name": "a"}})).await);
}

/// What the policies are about: a notebook with its Pod, other people's Secrets and policies.
struct Stage {
    notebook: Value,
}

impl Stage {
    async fn set(plane: &ControlPlane, admin: &Client) -> Self {
        let run = |script: &str, input: &str| bash(script, &deploy(), input, Some(&plane.kubeconfig));
        let mine = json!({"app.kubernetes.io/managed-by": "fairlead"});
        let namespace = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
            "metadata": {"name": "ml", "namespace": PROFILE, "annotations": {"notebooks.kubeflow.org/creator": "ann"}},
            "spec": {"template": {}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "ml-0", "namespace": PROFILE, "annotations": {"kept": "so"}, "labels": {"notebook-name": "ml"}},
            "spec": {"containers": [{"name": "ml", "image": "any"}]}});
        let secret = |namespace: &str, name: &str, labels: &Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "labels": labels}});
        let policy = |name: &str, labels: &Value| {
            let meta = json!({"name": name, "namespace": PROFILE, "labels": labels});
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta, "spec": {"podSelector": {}}})
        };
        let taken = |version: &str, kind: &str, name: &str, spec: &Value| json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": TAKEN}, "spec": spec});
        let closed = json!({"apiVersion": "security.istio.io/v1beta1", "kind": "AuthorizationPolicy", "spec": {},
            "metadata": {"name": "fairlead-ssh-deny", "namespace": PROFILE}});
        let items = [
            namespace(PROFILE, json!({"app.kubernetes.io/part-of": "kubeflow-profile"})),
            namespace(TAKEN, json!({"app.kubernetes.io/part-of": "kubeflow-profile"})),
            namespace("istio-system", json!({})),
            notebook,
            pod,
            secret(PROFILE, "fairlead-foreign", &json!({})),
            secret(SYSTEM, "fairlead-database", &mine),
            policy("somebodys", &json!({})),
            policy("fairlead-ssh", &mine),
            closed,
            taken("networking.k8s.io/v1", "NetworkPolicy", "fairlead-ssh", &json!({"podSelector": {}})),
            taken("security.istio.io/v1beta1", "PeerAuthentication", "fairlead-ml", &json!({})),
        ];
        for overlay in ["base", "overlays/production"] {
            run(&format!("kubectl kustomize {overlay} | kubectl apply --server-side --force-conflicts -f -"), "");
        }
        run("kubectl apply -k admission-policy", "");
        let other = "kubectl get mutatingwebhookconfiguration fairlead -o json | \
                     jq '.metadata = {name: \"istio\"}' | kubectl create -f -";
        run(other, "");
        run("kubectl create -f -", &json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string());
        let admin = Writer { client: admin.clone(), unbound: true };
        let found = admin.any(PROFILE, "kubeflow.org/v1", "Notebook").get("ml").await.unwrap();
        Self { notebook: owner("kubeflow.org/v1", "Notebook", "ml", &found.metadata.uid.unwrap()) }
    }
}

/// An API server knows new policies a moment later.
async fn enforced(operator: &Writer) {
    let pods = async || operator.status(json!({"metadata": {"annotations": {"a": "b"}}})).await.err().map(drop);
    eventually("the policies count", pods).await;
    let account =
        async || operator.secret(SYSTEM, json!({"metadata": {"name": "fairlead-database"}})).await.err().map(drop);
    eventually("all of them", account).await;
}

async fn pods(operator: &Writer) {
    passes(operator.status(json!({"metadata": {"annotations": {"fairlead.dev/secret-version": "1"}}})).await);
    let annotation = "of a Pod's annotations Fairlead changes fairlead.dev/* alone";
    for change in [json!({"sidecar.istio.io/status": "1"}), json!({"kept": "no"}), json!({"kept": null})] {
        operator.refused(operator.status(json!({"metadata": {"annotations": change}})).await, annotation);
    }
    let meta = "of a Pod's metadata Fairlead changes annotations alone";
    for change in [json!({"labels": {"app": "bank"}}), json!({"labels": null}), json!({"finalizers": ["a/b"]})] {
        operator.refused(operator.status(json!({"metadata": change})).await, meta);
    }
    let status = "Fairlead does not change the status of a Pod";
    for change in [json!({"podIP": "192.0.2.1"}), json!({"phase": "Failed"}), json!({"message": "x"})] {
        operator.refused(operator.status(json!({"status": change})).await, status);
    }
}

async fn notebooks(operator: &Writer) {
    for value in [json!("now"), Value::Null] {
        passes(operator.notebook(json!({"metadata": {"annotations": {"kubeflow-resource-stopped": value}}})).await);
    }
    let annotation = "of a Notebook's annotations Fairlead changes kubeflow-resource-stopped alone";
    let creator = "notebooks.kubeflow.org/creator";
    for change in [json!({"fairlead.dev/ssh": "enabled"}), json!({creator: "eve"}), json!({creator: null})] {
        operator.refused(operator.notebook(json!({"metadata": {"annotations": change}})).await, annotation);
    }
    let meta = "of a Notebook's metadata Fairlead changes annotations alone";
    operator.refused(operator.notebook(json!({"metadata": {"labels": {"a": "b"}}})).await, meta);
    let spec = "Fairlead changes neither what a Notebook is nor how it stands";
    operator.refused(
        operator.notebook(json!({"spec": {"template": {"spec": {"serviceAccountName": "root"}}}})).await,
        spec,
    );
}

async fn webhooks(operator: &Writer) {
    let set = |path: &str, value: Value| json!([{"op": "add", "path": path, "value": value}]);
    let bundle = set("/webhooks/0/clientConfig/caBundle", json!(PEM));
    passes(operator.webhook("fairlead", bundle).await);
    let alone = "of its webhook's configuration Fairlead changes caBundle alone";
    for (path, value) in [
        ("/webhooks/0/failurePolicy", json!("Fail")),
        ("/webhooks/0/timeoutSeconds", json!(30)),
        ("/webhooks/0/reinvocationPolicy", json!("Never")),
        ("/webhooks/0/matchPolicy", json!("Exact")),
        ("/webhooks/0/sideEffects", json!("NoneOnDryRun")),
        ("/webhooks/0/admissionReviewVersions", json!(["v1", "v1beta1"])),
        ("/webhooks/0/namespaceSelector", json!({})),
        ("/webhooks/0/objectSelector", json!({})),
        ("/webhooks/0/matchConditions", json!([{"name": "a", "expression": "true"}])),
        ("/webhooks/0/rules/0/resources", json!(["secrets"])),
        ("/webhooks/0/clientConfig/service/namespace", json!(PROFILE)),
        ("/webhooks/0/clientConfig", json!({"url": "https://192.0.2.1/"})),
        ("/webhooks/0/name", json!("other.fairlead.dev")),
        ("/webhooks", json!([])),
        ("/metadata/labels", json!({"a": "b"})),
        ("/metadata/annotations", json!({"a": "b"})),
    ] {
        operator.refused(operator.webhook("fairlead", set(path, value)).await, alone);
    }
    let own = "Fairlead changes no webhook's configuration but its own";
    operator.refused(operator.webhook("istio", set("/webhooks", json!([]))).await, own);
    operator.refused(operator.webhook("istio", set("/webhooks/0/clientConfig/caBundle", json!(PEM))).await, own);
    let all: Api<MutatingWebhookConfiguration> = Api::all(operator.client.clone());
    operator.refused(all.delete("fairlead", &DeleteParams::default().dry_run()).await.map(drop), own);
}

async fn secrets(operator: &Writer, stage: &Stage) {
    let good = secret("fairlead-ml", Some(stage.notebook.clone()));
    passes(operator.secret(PROFILE, good.clone()).await);
    for name in ["fairlead-identity", "fairlead-gateway"] {
        passes(operator.secret(SYSTEM, secret(name, None)).await);
    }
    let tls = with(&secret("fairlead-webhook", None), "/type", json!("kubernetes.io/tls"));
    let tls = with(&tls, "/stringData", json!({"tls.crt": "", "tls.key": ""}));
    passes(operator.secret(SYSTEM, tls.clone()).await);

    let name = "Fairlead writes no Secret but fairlead-NOTEBOOK, owned by that Notebook, and three of its own";
    operator.refused(operator.secret(PROFILE, secret("fairlead-ml", None)).await, name);
    operator.refused(operator.secret(PROFILE, secret("fairlead-other", Some(stage.notebook.clone()))).await, name);
    operator.refused(operator.secret(PROFILE, secret("default-token", Some(stage.notebook.clone()))).await, name);
    operator.refused(operator.secret(PROFILE, secret("fairlead-identity", None)).await, name);
    let set = with(&stage.notebook, "/kind", json!("StatefulSet"));
    operator.refused(operator.secret(PROFILE, secret("fairlead-ml", Some(set))).await, name);
    for other in ["fairlead-database", "fairlead-ingress", "other"] {
        operator.refused(operator.secret(SYSTEM, secret(other, None)).await, name);
    }
    operator.refused(operator.secret("kube-system", secret("fairlead-gateway", None)).await, name);
    let kind = "Fairlead writes Secrets of the type Opaque, and fairlead-webhook of kubernetes.io/tls";
    let token = with(&good, "/type", json!("kubernetes.io/service-account-token"));
    let token = with(&token, "/metadata/annotations", json!({"kubernetes.io/service-account.name": "default"}));
    operator.refused(operator.secret(PROFILE, token).await, kind);
    let served = with(&good, "/type", json!("kubernetes.io/tls"));
    let served = with(&served, "/stringData", json!({"tls.crt": "", "tls.key": ""}));
    operator.refused(operator.secret(PROFILE, served).await, kind);
    operator.refused(operator.secret(SYSTEM, with(&tls, "/type", json!("Opaque"))).await, kind);
    let label = "Fairlead writes Secrets labelled app.kubernetes.io/managed-by=fairlead";
    operator.refused(operator.secret(PROFILE, with(&good, "/metadata/labels", json!({}))).await, label);
    let owned = with(&stage.notebook, "/name", json!("foreign"));
    operator.refused(
        operator.secret(PROFILE, secret("fairlead-foreign", Some(owned))).await,
        "Fairlead changes no Secret that it did not make",
    );
}

async fn authorization_policies(operator: &Writer) {
    let (version, kind) = ("security.istio.io/v1beta1", "AuthorizationPolicy");
    let apply = async |namespace: &str, object: Value| operator.apply(namespace, version, kind, object).await;
    let good = |name: &str, action: &str| {
        let to = json!([{"operation": {"ports": ["2209"]}}]);
        let from = json!([{"source": {"ipBlocks": ["192.0.2.1/32"]}}]);
        let labels = json!({"app.kubernetes.io/managed-by": "fairlead", "app.kubernetes.io/part-of": "fairlead"});
        json!({"metadata": {"name": name, "labels": labels}, "spec": {"action": action, "rules": [{"from": from, "to": to}]}})
    };
    let allow = good("fairlead-ssh-allow", "ALLOW");
    passes(apply(PROFILE, allow.clone()).await);
    let name = "Fairlead writes no AuthorizationPolicy but fairlead-ssh-allow and fairlead-ssh-deny";
    operator.refused(apply(PROFILE, good("fairlead-ssh", "ALLOW")).await, name);
    operator
        .refused(apply("istio-system", allow.clone()).await, "Fairlead writes AuthorizationPolicies in profiles alone");
    let label = "Fairlead writes AuthorizationPolicies labelled app.kubernetes.io/managed-by=fairlead";
    operator.refused(apply(PROFILE, with(&allow, "/metadata/labels", json!({}))).await, label);
    let foreign = "Fairlead changes no AuthorizationPolicy that it did not make";
    operator.refused(apply(PROFILE, good("fairlead-ssh-deny", "DENY")).await, foreign);
    operator.refused(operator.delete(version, kind, "fairlead-ssh-deny").await, foreign);
    let whom = "Fairlead's fairlead-ssh-allow says whom it allows";
    for from in [json!([]), json!([{}]), json!([{"source": {"principals": ["*"]}}])] {
        operator.refused(apply(PROFILE, with(&allow, "/spec/rules/0/from", from)).await, whom);
    }
    let ports = "Fairlead's AuthorizationPolicies are about port 2209 alone";
    for (path, value) in [
        ("/spec/action", json!("DENY")),
        ("/spec/action", json!("CUSTOM")),
        ("/spec/rules", json!([])),
        ("/spec/rules", json!([{"from": allow["spec"]["rules"][0]["from"]}])),
        ("/spec/rules/0/to", json!([])),
        ("/spec/rules/0/to", json!([{}])),
        ("/spec/rules/0/to", json!([{"operation": {"ports": ["2209"]}}, {"operation": {"ports": ["8888"]}}])),
        ("/spec/rules/0/to/0/operation/ports", json!(["2209", "8888"])),
        ("/spec/rules/0/to/0/operation", json!({"methods": ["GET"]})),
    ] {
        operator.refused(apply(PROFILE, with(&allow, path, value)).await, ports);
    }
}

async fn peer_authentications(operator: &Writer, stage: &Stage) {
    let (version, kind) = ("security.istio.io/v1beta1", "PeerAuthentication");
    let apply = async |namespace: &str, object: Value| operator.apply(namespace, version, kind, object).await;
    let labels = json!({"app.kubernetes.io/managed-by": "fairlead"});
    let good = json!({"metadata": {"name": "fairlead-ml", "labels": labels, "ownerReferences": [stage.notebook]},
        "spec": {"selector": {"matchLabels": {"notebook-name": "ml"}}, "portLevelMtls": {"2209": {"mode": "PERMISSIVE"}}}});
    passes(apply(PROFILE, good.clone()).await);
    passes(apply(PROFILE, with(&good, "/spec/mtls", json!({"mode": "STRICT"}))).await);
    let name = "Fairlead writes no PeerAuthentication but fairlead-NOTEBOOK";
    operator.refused(apply(PROFILE, with(&good, "/metadata/name", json!("default"))).await, name);
    operator
        .refused(apply("istio-system", good.clone()).await, "Fairlead writes PeerAuthentications in profiles alone");
    let label = "Fairlead writes PeerAuthentications labelled app.kubernetes.io/managed-by=fairlead";
    operator.refused(apply(PROFILE, with(&good, "/metadata/labels", json!({}))).await, label);
    let foreign = "Fairlead changes no PeerAuthentication that it did not make";
    operator.refused(apply(TAKEN, good.clone()).await, foreign);
    let one = "Fairlead's PeerAuthentications are of one Notebook, and about port 2209 alone";
    for (path, value) in [
        ("/metadata/ownerReferences", json!([])),
        ("/metadata/name", json!("fairlead-other")),
        ("/spec/selector", json!({})),
        ("/spec/mtls", json!({"mode": "PERMISSIVE"})),
        ("/spec/mtls", json!({"mode": "DISABLE"})),
        ("/spec/portLevelMtls/8888", json!({"mode": "PERMISSIVE"})),
    ] {
        operator.refused(apply(PROFILE, with(&good, path, value)).await, one);
    }
}

async fn network_policies(operator: &Writer) {
    let (version, kind) = ("networking.k8s.io/v1", "NetworkPolicy");
    let apply = async |namespace: &str, object: Value| operator.apply(namespace, version, kind, object).await;
    let labels = json!({"app.kubernetes.io/managed-by": "fairlead"});
    let range = |first: u16, last: u16| json!({"protocol": "TCP", "port": first, "endPort": last});
    let others = json!([range(1, 2208), range(2210, 65535), {"protocol": "UDP", "port": 1, "endPort": 65535}]);
    let ssh = json!({"from": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"port": 2209, "protocol": "TCP"}]});
    let notebooks = json!({"matchExpressions": [{"key": "notebook-name", "operator": "Exists"}]});
    let good = json!({"metadata": {"name": "fairlead-ssh", "labels": labels},
        "spec": {"podSelector": notebooks, "policyTypes": ["Ingress"], "ingress": [ssh, {"ports": others}]}});
    passes(apply(PROFILE, good.clone()).await);
    passes(operator.delete(version, kind, "fairlead-ssh").await);
    let name = "Fairlead writes no NetworkPolicy but fairlead-ssh";
    operator.refused(apply(PROFILE, with(&good, "/metadata/name", json!("somebodys"))).await, name);
    operator.refused(operator.delete(version, kind, "somebodys").await, name);
    operator.refused(apply(SYSTEM, good.clone()).await, "Fairlead writes NetworkPolicies in profiles alone");
    let label = "Fairlead writes NetworkPolicies labelled app.kubernetes.io/managed-by=fairlead";
    let theirs = json!({"app.kubernetes.io/managed-by": "somebody"});
    operator.refused(apply(PROFILE, with(&good, "/metadata/labels", theirs)).await, label);
    let foreign = "Fairlead changes no NetworkPolicy that it did not make";
    operator.refused(apply(TAKEN, good.clone()).await, foreign);
    let shape = "Fairlead's NetworkPolicies are about what comes into notebooks";
    for (path, value) in [
        ("/spec/policyTypes", json!(["Ingress", "Egress"])),
        ("/spec/podSelector", json!({})),
        ("/spec/podSelector/matchLabels", json!({"app": "bank"})),
    ] {
        operator.refused(apply(PROFILE, with(&good, path, value)).await, shape);
    }
    let open = "Fairlead's NetworkPolicies open port 2209 to whom they name";
    for (path, value) in [
        ("/spec/ingress", json!([{}])),
        ("/spec/ingress/0/from", json!([])),
        ("/spec/ingress/1/ports", json!([{"protocol": "TCP"}])),
        ("/spec/ingress/1/ports", json!([{"port": 2209}])),
        ("/spec/ingress/1/ports", json!([range(1, 2209)])),
        ("/spec/ingress/1/ports", json!([range(2209, 2210)])),
        ("/spec/ingress/1/ports", json!([range(1, 65535)])),
    ] {
        operator.refused(apply(PROFILE, with(&good, path, value)).await, open);
    }
}
