//! Policies of the mesh on a real API server, by the rights that the operator has: they appear, follow the gateways,
//! are put back, go, and leave alone what somebody else made.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_model::plan::mesh::{ALLOW, DENY, GATEWAY_LABEL, Mode, Settings};
use fairlead_server::check::Level;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::check::check;
use crate::cluster::{Cluster, Options, Output, SYSTEM, eventually, id};

const ROOT: &str = "istio-system";

pub(crate) fn with(mode: Mode) -> Options {
    let mesh = Settings { mode, namespace: SYSTEM.to_owned(), ..Settings::default() };
    Options { mesh: Some(mesh), ..Options::default() }
}

pub(crate) fn policies(cluster: &Cluster, kind: &str, namespace: &str) -> Api<DynamicObject> {
    let group = if kind == "NetworkPolicy" { "networking.k8s.io" } else { "security.istio.io" };
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", kind));
    Api::namespaced_with(cluster.admin.clone(), namespace, &resource)
}

pub(crate) async fn apply(cluster: &Cluster, kind: &str, namespace: &str, name: &str, spec: Value) -> DynamicObject {
    let group = if kind == "NetworkPolicy" { "networking.k8s.io" } else { "security.istio.io" };
    let object = json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec});
    cluster.apply(Some(namespace), object).await
}

async fn spec(cluster: &Cluster, kind: &str, namespace: &str, name: &str) -> Option<Value> {
    policies(cluster, kind, namespace).get_opt(name).await.ok()?.map(|found| found.data["spec"].clone())
}

/// Waits until a policy is as wished; `None` where it is not there.
pub(crate) async fn becomes(
    cluster: &Cluster,
    kind: &str,
    name: &str,
    what: &str,
    wish: impl Fn(Option<&Value>) -> bool,
) {
    eventually(&format!("{name}: {what}"), async || {
        wish(spec(cluster, kind, "team-a", name).await.as_ref()).then_some(())
    })
    .await;
}

/// A Pod that dials notebooks, not ready yet.
pub(crate) async fn gateway(cluster: &Cluster, name: &str, ips: &[&str]) {
    let pod = json!({"metadata": {"name": name, "labels": {GATEWAY_LABEL: "true", "app.kubernetes.io/name": "fairlead"}},
        "spec": {"containers": [{"name": "fairlead", "image": "any"}]}});
    let pods: Api<Pod> = cluster.api(SYSTEM);
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
    let all: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    let status = json!({"status": {"phase": "Pending", "podIP": ips[0], "podIPs": all}});
    pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
}

fn denied_but(blocks: Value) -> impl Fn(Option<&Value>) -> bool {
    move |spec| spec.is_some_and(|spec| spec["rules"][0]["from"][0]["source"]["notIpBlocks"] == blocks)
}

fn allowed(blocks: Value) -> impl Fn(Option<&Value>) -> bool {
    move |spec| spec.is_some_and(|spec| spec["rules"][0]["from"][0]["source"]["ipBlocks"] == blocks)
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.namespace(ROOT, None).await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    cluster
}

const AUTHORIZATION: &str = "AuthorizationPolicy";
const PEER: &str = "PeerAuthentication";

#[tokio::test(flavor = "multi_thread")]
async fn authorization_policies_follow_the_gateways_and_are_put_back() {
    let cluster = cluster().await;
    cluster.profile("team-b", "bob@example.com").await;
    cluster.notebook("team-b", "ml").await;
    let theirs = json!({"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["1"]}}]}]});
    let before = apply(&cluster, AUTHORIZATION, "team-b", DENY, theirs).await;
    let running = cluster.operating(with(Mode::Policies)).await;

    let nobody = |spec: Option<&Value>| spec.is_some_and(|spec| spec["rules"][0]["from"].is_null());
    becomes(&cluster, AUTHORIZATION, DENY, "denies everybody while no gateway is known", nobody).await;
    gateway(&cluster, "front-0", &["10.9.0.1", "fd00::1"]).await;
    becomes(&cluster, AUTHORIZATION, DENY, "spares it", denied_but(json!(["10.9.0.1/32", "fd00::1/128"]))).await;
    assert_eq!(spec(&cluster, AUTHORIZATION, "team-a", ALLOW).await, None, "it would close every other port");
    apply(&cluster, AUTHORIZATION, ROOT, "global-deny-all", json!({})).await;
    becomes(&cluster, AUTHORIZATION, ALLOW, "opens", allowed(json!(["10.9.0.1/32", "fd00::1/128"]))).await;
    let begin = Instant::now();
    gateway(&cluster, "front-1", &["10.9.0.2"]).await;
    cluster.delete::<Pod>(SYSTEM, "front-0").await;
    becomes(&cluster, AUTHORIZATION, ALLOW, "follows", allowed(json!(["10.9.0.2/32"]))).await;
    becomes(&cluster, AUTHORIZATION, DENY, "follows", denied_but(json!(["10.9.0.2/32"]))).await;
    println!("policies: {:?} after the gateways changed", begin.elapsed());

    // Deleted, and changed: put back.
    let ours = policies(&cluster, AUTHORIZATION, "team-a");
    ours.delete(DENY, &DeleteParams::default()).await.unwrap();
    becomes(&cluster, AUTHORIZATION, DENY, "is made again", denied_but(json!(["10.9.0.2/32"]))).await;
    let open = Patch::Merge(json!({"spec": {"rules": [{"from": [{"source": {"ipBlocks": ["0.0.0.0/0"]}}]}]}}));
    ours.patch(ALLOW, &PatchParams::default(), &open).await.unwrap();
    becomes(&cluster, AUTHORIZATION, ALLOW, "is put back", allowed(json!(["10.9.0.2/32"]))).await;
    // What is added has another owner, whom an apply leaves alone.
    let nobody = Patch::Merge(json!({"spec": {"selector": {"matchLabels": {"is": "nobody"}}}}));
    let changed = ours.patch(DENY, &PatchParams::default(), &nobody).await.unwrap();
    assert_eq!(changed.data["spec"]["selector"]["matchLabels"]["is"], "nobody");
    let whole = |spec: Option<&Value>| spec.is_some_and(|spec| spec.get("selector").is_none());
    becomes(&cluster, AUTHORIZATION, DENY, "is for all Pods again", whole).await;

    // What somebody else made is as it was, and kept out of the way.
    becomes_in_team_b(&cluster).await;
    let theirs = policies(&cluster, AUTHORIZATION, "team-b").get(DENY).await.unwrap();
    assert_eq!(theirs.metadata.resource_version, before.metadata.resource_version);

    // Nothing is written twice.
    let version = async |name: &str| ours.get(name).await.unwrap().metadata.resource_version;
    let versions = (version(ALLOW).await, version(DENY).await);
    drop(running);
    let running = cluster.operating(with(Mode::Policies)).await;
    gateway(&cluster, "front-2", &["10.9.0.3"]).await;
    becomes(&cluster, AUTHORIZATION, ALLOW, "follows", allowed(json!(["10.9.0.2/32", "10.9.0.3/32"]))).await;
    assert_ne!(version(ALLOW).await, versions.0);

    // Another mode: ours go, theirs stay.
    drop(running);
    let _running = cluster.operating(with(Mode::None)).await;
    becomes(&cluster, AUTHORIZATION, ALLOW, "goes", |spec| spec.is_none()).await;
    becomes(&cluster, AUTHORIZATION, DENY, "goes", |spec| spec.is_none()).await;
    assert!(spec(&cluster, AUTHORIZATION, "team-b", DENY).await.is_some());
    assert!(spec(&cluster, AUTHORIZATION, ROOT, "global-deny-all").await.is_some());
}

/// In the other profile the ALLOW is written, whose name is free.
async fn becomes_in_team_b(cluster: &Cluster) {
    eventually("the ALLOW beside somebody's DENY", async || spec(cluster, AUTHORIZATION, "team-b", ALLOW).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_from_strict_tls_comes_and_goes_with_its_reason() {
    let cluster = cluster().await;
    let _running = cluster.operating(with(Mode::Policies)).await;
    becomes(&cluster, AUTHORIZATION, DENY, "is there", |spec| spec.is_some()).await;
    assert_eq!(spec(&cluster, PEER, "team-a", "fairlead-ml").await, None);
    apply(&cluster, PEER, ROOT, "default", json!({"mtls": {"mode": "STRICT"}})).await;
    becomes(&cluster, PEER, "fairlead-ml", "is there", |spec| spec.is_some()).await;
    let made = policies(&cluster, PEER, "team-a").get("fairlead-ml").await.unwrap();
    assert_eq!(made.data["spec"]["portLevelMtls"]["2209"]["mode"], "PERMISSIVE");
    let owner = &made.metadata.owner_references.unwrap()[0];
    let notebook = cluster.notebooks("team-a").get("ml").await.unwrap();
    assert_eq!((owner.kind.as_str(), Some(&owner.uid)), ("Notebook", notebook.metadata.uid.as_ref()));
    // Another port beside sshd's, and a label that is taken off.
    let added = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}},
        "spec": {"portLevelMtls": {"8888": {"mode": "DISABLE"}}}});
    let ours = policies(&cluster, PEER, "team-a");
    ours.patch("fairlead-ml", &PatchParams::default(), &Patch::Merge(added)).await.unwrap();
    let one = |spec: Option<&Value>| spec.is_some_and(|spec| spec["portLevelMtls"].as_object().unwrap().len() == 1);
    becomes(&cluster, PEER, "fairlead-ml", "is about sshd's port alone", one).await;
    let labels = ours.get("fairlead-ml").await.unwrap().metadata.labels.unwrap();
    assert_eq!(labels.get("app.kubernetes.io/managed-by").map(String::as_str), Some("fairlead"));
    // Somebody's own for this Pod: of two, the oldest alone would count.
    let own = json!({"selector": {"matchLabels": {"notebook-name": "ml"}}, "mtls": {"mode": "STRICT"}});
    apply(&cluster, PEER, "team-a", "own", own).await;
    becomes(&cluster, PEER, "fairlead-ml", "goes", |spec| spec.is_none()).await;
    policies(&cluster, PEER, "team-a").delete("own", &DeleteParams::default()).await.unwrap();
    becomes(&cluster, PEER, "fairlead-ml", "comes again", |spec| spec.is_some()).await;
    // A profile without a notebook has nothing of ours.
    cluster.notebooks("team-a").delete("ml", &DeleteParams::default()).await.unwrap();
    becomes(&cluster, PEER, "fairlead-ml", "goes with its notebook", |spec| spec.is_none()).await;
    becomes(&cluster, AUTHORIZATION, DENY, "goes with the last notebook", |spec| spec.is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_that_comes_later_is_found_and_keeps_nothing_waiting() {
    let cluster = cluster().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin.clone());
    let mut kept = Vec::new();
    for kind in ["authorizationpolicies", "peerauthentications"] {
        let name = format!("{kind}.security.istio.io");
        let found = definitions.get(&name).await.unwrap();
        kept.push(json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name, "annotations": found.metadata.annotations}, "spec": found.spec}));
        definitions.delete(&name, &DeleteParams::default()).await.unwrap();
        eventually("it is gone", async || definitions.get_opt(&name).await.unwrap().is_none().then_some(())).await;
    }
    let mut running = cluster.operating(with(Mode::Policies)).await;
    running.has_listed().await;
    eventually("the Secret", async || cluster.api::<Secret>("team-a").get_opt("fairlead-ml").await.unwrap()).await;
    for definition in kept {
        definitions.create(&PostParams::default(), &serde_json::from_value(definition).unwrap()).await.unwrap();
    }
    becomes(&cluster, AUTHORIZATION, DENY, "comes with the mesh", |spec| spec.is_some()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_policies_and_writes_none() {
    let cluster = cluster().await;
    let output = Output::default();
    let options = Options { output: Some(output.clone()), ..with(Mode::Policies) };
    let _running = cluster.operating(options).await;
    let text = eventually("it is printed", async || Some(output.text()).filter(|text| text.contains(DENY))).await;
    assert!(text.contains("kind: AuthorizationPolicy"), "{text}");
    // What is printed next follows all that the pass before did.
    gateway(&cluster, "front-0", &["10.9.0.1"]).await;
    eventually("the next is printed", async || output.text().contains("10.9.0.1/32").then_some(())).await;
    assert_eq!(spec(&cluster, AUTHORIZATION, "team-a", DENY).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_whether_our_policies_are_in_place_or_the_port_excluded() {
    let cluster = cluster().await;
    cluster.delete::<Pod>("team-a", "ml-0").await;
    let uid = cluster.notebooks("team-a").get("ml").await.unwrap().metadata.uid.unwrap();
    let set = cluster.stateful_set("team-a", "ml", &uid).await;
    let sidecar = |pod: &mut Value| {
        crate::cluster::mounted(pod);
        let proxy = json!({"name": "istio-proxy", "image": "any"});
        pod["spec"]["containers"].as_array_mut().unwrap().push(proxy);
    };
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "192.0.2.1", sidecar).await;
    let says = async |mode: Mode, words: &str, level: Level| {
        let mut check = check(&cluster, &cluster.own);
        check.mesh.mode = mode;
        let all = check.run(Some(&id("team-a", "ml"))).await;
        let found = all.iter().find(|finding| finding.what.contains(words));
        assert_eq!(found.map(|finding| finding.level), Some(level), "`{words}` in {all:#?}");
    };
    says(Mode::Policies, "no gateway has an address", Level::Warn).await;
    says(Mode::Policies, "there is no AuthorizationPolicy `fairlead-ssh-deny`", Level::Warn).await;
    says(Mode::Exclude, "its Pod's sidecar takes port 2209: it was made before", Level::Warn).await;
    // A restart takes the port out of the sidecar: no policy is to be written for a Pod that is only old.
    apply(&cluster, PEER, "team-a", "strict", json!({"mtls": {"mode": "STRICT"}})).await;
    apply(&cluster, AUTHORIZATION, "team-a", "closed", json!({})).await;
    for (mode, is_restart) in [(Mode::Exclude, true), (Mode::None, false)] {
        let mut check = check(&cluster, &cluster.own);
        check.mesh.mode = mode;
        let all = check.run(Some(&id("team-a", "ml"))).await;
        for words in ["`team-a/strict` is STRICT", "`team-a/closed` closes its sidecar"] {
            let found = all.iter().find(|finding| finding.what.contains(words)).unwrap();
            let fix = found.fix.as_deref().unwrap();
            assert_eq!(
                (fix.contains("kubectl"), fix.starts_with("stop the notebook")),
                (!is_restart, is_restart),
                "{fix}"
            );
        }
    }
    for (kind, name) in [(PEER, "strict"), (AUTHORIZATION, "closed")] {
        policies(&cluster, kind, "team-a").delete(name, &DeleteParams::default()).await.unwrap();
    }
    says(Mode::None, "somebody else's work", Level::Ok).await;
    let running = cluster.operating(with(Mode::Policies)).await;
    gateway(&cluster, "front-0", &["10.9.0.1"]).await;
    becomes(&cluster, AUTHORIZATION, DENY, "spares it", denied_but(json!(["10.9.0.1/32"]))).await;
    says(Mode::Policies, "written for the gateways `10.9.0.1/32`", Level::Ok).await;
    says(Mode::Policies, "are in place, for the gateways `10.9.0.1/32`", Level::Ok).await;
    says(Mode::Policies, "AuthorizationPolicies let Fairlead reach port 2209", Level::Ok).await;
    drop(running);
    gateway(&cluster, "front-1", &["10.9.0.2"]).await;
    says(Mode::Policies, "do not name the gateways", Level::Warn).await;
    says(Mode::Policies, "`team-a/fairlead-ssh-deny` denies it to Fairlead", Level::Fail).await;
}
