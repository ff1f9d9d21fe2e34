//! `check`, on policies of the network and of the mesh: each is met by the very fix that was named for it.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_model::NotebookId;
use fairlead_server::check::{Finding, Level};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::check::{check, own_address};
use crate::cluster::{Cluster, SYSTEM, eventually, id, mounted};

const ROOT: &str = "istio-system";

/// A profile with a notebook at an address where nothing listens, and a Pod of Fairlead.
async fn cluster(ip: &str, gateway: &str) -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace(ROOT, None).await;
    // As the manifests have it.
    let labels = json!({"name": SYSTEM, "labels": {"app.kubernetes.io/name": "fairlead"}});
    cluster.apply(None, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": labels})).await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", ip).await;
    let pod = json!({"metadata": {"name": "fairlead-0", "labels": {"app.kubernetes.io/name": "fairlead"}},
        "spec": {"containers": [{"name": "fairlead", "image": "any"}]}});
    let pods: Api<Pod> = cluster.api(SYSTEM);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let status = json!({"status": {"phase": "Running", "podIP": gateway, "podIPs": [{"ip": gateway}]}});
    pods.patch_status("fairlead-0", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    cluster
}

/// Puts another Pod in the place of the notebook's.
async fn pod(cluster: &Cluster, ip: &str, change: impl FnOnce(&mut Value)) {
    let old = cluster.api::<Pod>("team-a").get("ml-0").await.unwrap();
    let set = old.metadata.owner_references.unwrap().remove(0).uid;
    cluster.delete::<Pod>("team-a", "ml-0").await;
    let changed = |pod: &mut Value| {
        mounted(pod);
        change(pod);
    };
    cluster.pod("team-a", "ml-0", "ml", Some(&set), ip, changed).await;
}

fn sidecar(pod: &mut Value) {
    let containers = pod["spec"]["containers"].as_array_mut().unwrap();
    containers.push(json!({"name": "istio-proxy", "image": "any"}));
}

fn policy(kind: &str, name: &str, spec: &Value) -> Value {
    let group = if kind == "NetworkPolicy" { "networking.k8s.io" } else { "security.istio.io" };
    json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The one finding with these words.
async fn finding(cluster: &Cluster, id: Option<&NotebookId>, words: &str) -> Finding {
    let all = check(cluster, &cluster.own).run(id).await;
    let mut found = all.iter().filter(|one| one.what.contains(words));
    let one = found.next().unwrap_or_else(|| panic!("no `{words}` in {all:#?}"));
    assert!(found.next().is_none(), "`{words}` several times in {all:#?}");
    one.clone()
}

/// That a policy is named as the one that keeps people out, and that its fix, applied, ends that.
async fn is_refused_until_fixed(cluster: &Cluster, refusal: &str, opened: &str) {
    let ml = id("team-a", "ml");
    let refused = finding(cluster, Some(&ml), refusal).await;
    assert_eq!(refused.level, Level::Fail, "{refused:?}");
    let fix = refused.fix.unwrap();
    let object = fix.strip_prefix("echo '").and_then(|rest| rest.strip_suffix("' | kubectl apply -f -"));
    let object: Value = serde_json::from_str(object.unwrap_or_else(|| panic!("{fix}"))).unwrap();
    assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/part-of"], "fairlead", "the uninstall finds it");
    cluster.apply(Some("team-a"), object).await;
    assert_eq!(finding(cluster, Some(&ml), opened).await.level, Level::Ok, "after {fix}");
}

#[tokio::test(flavor = "multi_thread")]
async fn network_policies_that_keep_fairlead_out_are_named_with_what_opens() {
    let cluster = cluster("192.0.2.1", "10.1.9.9").await;
    let ml = id("team-a", "ml");
    assert_eq!(finding(&cluster, None, "NetworkPolicies can be listed").await.level, Level::Ok);
    assert_eq!(finding(&cluster, Some(&ml), "no NetworkPolicy selects its Pod").await.level, Level::Ok);

    let other = json!({"podSelector": {"matchLabels": {"notebook-name": "nlp"}}});
    cluster.apply(Some("team-a"), policy("NetworkPolicy", "of-another", &other)).await;
    assert_eq!(finding(&cluster, Some(&ml), "no NetworkPolicy selects its Pod").await.level, Level::Ok);
    cluster.apply(Some("team-a"), policy("NetworkPolicy", "closed", &json!({"podSelector": {}}))).await;
    let refusal = "network: NetworkPolicy `closed` closes its Pod";
    is_refused_until_fixed(&cluster, refusal, "NetworkPolicies let Fairlead reach port 2209").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_of_the_mesh_count_where_a_sidecar_takes_the_port() {
    let cluster = cluster("192.0.2.1", "10.1.9.9").await;
    let ml = id("team-a", "ml");
    assert_eq!(finding(&cluster, None, "no PeerAuthentication makes the whole").await.level, Level::Ok);
    assert_eq!(finding(&cluster, None, "no AuthorizationPolicy in `istio-system`").await.level, Level::Ok);

    // As Kubeflow ships it, and a strict mesh.
    cluster.apply(Some(ROOT), policy("AuthorizationPolicy", "global-deny-all", &json!({}))).await;
    let strict = json!({"mtls": {"mode": "STRICT"}});
    cluster.apply(Some(ROOT), policy("PeerAuthentication", "default", &strict)).await;
    for words in ["PeerAuthentication `istio-system/default` is STRICT", "`istio-system/global-deny-all` closes"] {
        assert_eq!(finding(&cluster, None, words).await.level, Level::Warn, "{words}");
    }
    assert_eq!(finding(&cluster, Some(&ml), "its Pod has no sidecar").await.level, Level::Ok);
    pod(&cluster, "192.0.2.1", |pod| {
        sidecar(pod);
        pod["metadata"]["annotations"] = json!({"traffic.sidecar.istio.io/excludeInboundPorts": "2209"});
    })
    .await;
    assert_eq!(finding(&cluster, Some(&ml), "excluded from its Pod's sidecar").await.level, Level::Ok);

    pod(&cluster, "192.0.2.1", sidecar).await;
    let refusal = "mesh: PeerAuthentication `istio-system/default` is STRICT";
    is_refused_until_fixed(&cluster, refusal, "no PeerAuthentication makes its sidecar strict").await;
    // The oldest policy of the Pod counts alone: its exception has its place there.
    let own = json!({"selector": {"matchLabels": {"notebook-name": "ml"}}, "mtls": {"mode": "STRICT"}});
    cluster.apply(Some("team-a"), policy("PeerAuthentication", "fairlead-ml", &own)).await;
    let fix = finding(&cluster, Some(&ml), "mesh: PeerAuthentication `team-a/fairlead-ml`").await.fix.unwrap();
    let patch = fix.strip_prefix("kubectl patch peerauthentication -n team-a fairlead-ml --type merge -p '");
    let patch: Value = serde_json::from_str(patch.unwrap().strip_suffix('\'').unwrap()).unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("security.istio.io", "v1", "PeerAuthentication"));
    let peers: Api<DynamicObject> = Api::namespaced_with(cluster.admin.clone(), "team-a", &kind);
    peers.patch("fairlead-ml", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(finding(&cluster, Some(&ml), "no PeerAuthentication makes its sidecar").await.level, Level::Ok);
    let refusal = "mesh: AuthorizationPolicy `istio-system/global-deny-all` closes its sidecar";
    is_refused_until_fixed(&cluster, refusal, "AuthorizationPolicies let Fairlead reach port 2209").await;
    let deny = json!({"action": "DENY", "rules": [{"to": [{"operation": {"notPorts": ["8888"]}}]}]});
    cluster.apply(Some("team-a"), policy("AuthorizationPolicy", "web-only", &deny)).await;
    let denied = finding(&cluster, Some(&ml), "`team-a/web-only` denies it to Fairlead").await;
    assert_eq!(denied.level, Level::Fail);
    let deny = json!({"action": "DENY", "rules": [{"to": [{"operation": {"notPorts": ["8888", "2209"]}}]}]});
    cluster.apply(Some("team-a"), policy("AuthorizationPolicy", "web-only", &deny)).await;
    assert_eq!(finding(&cluster, Some(&ml), "AuthorizationPolicies let Fairlead reach").await.level, Level::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_a_warning_and_what_is_not_there_is_none() {
    let cluster = cluster("192.0.2.1", "10.1.9.9").await;
    let nobody = fairlead_lab::apiserver::client_as(&cluster.plane.kubeconfig, Some("nobody")).await.unwrap();
    let findings = check(&cluster, &nobody).run(None).await;
    let right = |name: &str| format!("apply deploy/base again: the right to list {name}");
    for name in [
        "networkpolicies.networking.k8s.io",
        "peerauthentications.security.istio.io",
        "authorizationpolicies.security.istio.io",
    ] {
        let found = findings.iter().find(|finding| finding.fix == Some(right(name)));
        assert_eq!(found.map(|finding| finding.level), Some(Level::Warn), "{name}: {findings:#?}");
    }
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin.clone());
    for kind in ["authorizationpolicies", "peerauthentications"] {
        let name = format!("{kind}.security.istio.io");
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
    }
    let absent = async || {
        let all = check(&cluster, &cluster.own).run(None).await;
        all.into_iter().find(|finding| finding.what.contains("there is no mesh")).map(|finding| finding.level)
    };
    assert_eq!(eventually("no kinds of Istio", absent).await, Level::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_nothing_enforces_is_doubted_in_fairlead_s_own_pod_alone() {
    let Some(ip) = own_address() else { return println!("this machine has no address but loopback") };
    let cluster = cluster(&ip.to_string(), "10.1.9.9").await;
    let ml = id("team-a", "ml");
    cluster.apply(Some("team-a"), policy("NetworkPolicy", "closed", &json!({"podSelector": {}}))).await;
    let listener = TcpListener::bind((ip, 2209)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    assert_eq!(finding(&cluster, Some(&ml), "`closed` closes its Pod").await.level, Level::Fail);
    // Now whoever runs this has the address of Fairlead's Pod.
    let status = json!({"status": {"podIP": ip, "podIPs": [{"ip": ip}]}});
    let pods = cluster.api::<Pod>(SYSTEM);
    pods.patch_status("fairlead-0", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    let doubted = finding(&cluster, Some(&ml), "`closed` closes its Pod").await;
    assert!(doubted.level == Level::Warn && doubted.what.contains("yet sshd greets"), "{doubted:?}");
}
