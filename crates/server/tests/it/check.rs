//! `check`, on installations and notebooks that lack something.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use fairlead_model::plan::mesh;
use fairlead_model::{HostSuffix, NotebookId, Time};
use fairlead_server::check::{self, Check, Finding, Level};
use fairlead_server::clock;
use fairlead_server::identity_store::IdentityStore;
use fairlead_server::lease::Candidate;
use fairlead_server::metrics::Metrics;
use fairlead_server::settings::{Part, SshDefault};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use kube::{Client, Config};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Options, SYSTEM, eventually, id, mounted, who};

/// All parts in one process.
const EVERY: [Part; 4] = [Part::Operator, Part::Webhook, Part::Gateway, Part::Page];

/// `check` with the test's own database.
pub(crate) fn check(cluster: &Cluster, client: &Client) -> Check {
    Check {
        client: client.clone(),
        store: Ok(cluster.store.clone()),
        namespace: SYSTEM.to_owned(),
        suffix: HostSuffix::default(),
        ssh: SshDefault::OptOut,
        mesh: mesh::Settings { mode: mesh::Mode::Policies, namespace: SYSTEM.to_owned(), ..mesh::Settings::default() },
        now: clock::now,
        parts: EVERY.to_vec(),
        page: None,
    }
}

fn failures(findings: &[Finding]) -> Vec<&str> {
    findings.iter().filter(|one| one.level == Level::Fail).map(|one| one.what.as_str()).collect()
}

/// Everything that is wrong with a notebook, apart from the installation.
async fn wrong(cluster: &Cluster, id: &NotebookId) -> String {
    let findings = check(cluster, &cluster.own).run(Some(id)).await;
    assert!(findings.iter().all(|finding| (finding.level == Level::Ok) == finding.fix.is_none()), "{findings:?}");
    failures(&findings).into_iter().filter(|what| !what.starts_with("the webhook")).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_is_judged_by_what_it_lacks() {
    let cluster = Cluster::start().await;
    let findings = check(&cluster, &cluster.own).run(None).await;
    let all = failures(&findings);
    assert!(matches!(all.as_slice(), [one] if one.contains("configuration `fairlead` is not there")), "{all:?}");
    let mut text = Vec::new();
    assert!(!check::write(&findings, &mut text).unwrap());
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("ok    the API server answers: Kubernetes v1."), "{text}");
    assert!(text.contains("ok    Notebooks are served as `kubeflow.org/v1`"), "{text}");
    assert!(text.contains("warn  there is no Secret `fairlead-system/fairlead-identity` yet"), "{text}");
    assert!(text.contains("      fix: "), "{text}");

    // The CA is made, and lost.
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    kept.load_or_create().await.unwrap();
    assert_eq!(failures(&check(&cluster, &cluster.own).run(None).await).len(), 1);
    cluster.delete::<k8s_openapi::api::core::v1::Secret>(SYSTEM, "fairlead-identity").await;
    let findings = check(&cluster, &cluster.own).run(None).await;
    assert!(failures(&findings).iter().any(|what| what.contains("fairlead-identity")), "{findings:?}");

    // Somebody with fewer rights, no database, no API server.
    let nobody = fairlead_lab::apiserver::client_as(&cluster.plane.kubeconfig, Some("nobody")).await.unwrap();
    let findings = check(&cluster, &nobody).run(None).await;
    let rights: Vec<_> = failures(&findings).into_iter().filter(|what| what.starts_with("may not")).collect();
    assert_eq!(rights.len(), fairlead_server::rights::RIGHTS.len(), "{findings:?}");
    let without = Check { store: Err(anyhow!("the disk is full")), ..check(&cluster, &cluster.own) };
    assert!(failures(&without.run(None).await).iter().any(|what| what.contains("the disk is full")));
    let mut config = Config::new("http://127.0.0.1:9".parse().unwrap());
    config.connect_timeout = Some(Duration::from_secs(1));
    config.default_retry = false;
    let findings = check(&cluster, &Client::try_from(config).unwrap()).run(None).await;
    assert!(matches!(failures(&findings).as_slice(), [one] if one.contains("does not answer")), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_keeps_people_out_of_a_notebook_is_named() {
    let cluster = Cluster::start().await;
    let ml = id("team-a", "ml");
    cluster.namespace("team-a", Some("ann@example.com")).await;
    assert!(wrong(&cluster, &ml).await.contains("no notebook `team-a/ml`"));
    let uid = cluster.notebook("team-a", "ml").await;
    let text = wrong(&cluster, &ml).await;
    for part in ["no Profile `team-a`", "nobody may reach it", "no StatefulSet", "Secret `fairlead-ml` is not there"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    cluster.profile("team-a", "bob@example.com").await;
    cluster.namespace("team-a", Some("ann@example.com")).await;
    assert!(wrong(&cluster, &ml).await.contains("Profile (`bob@example.com`) and namespace (`ann@example.com`)"));
    cluster.profile("team-a", "ann@example.com").await;
    cluster.key("ann@example.com").await;
    let set = cluster.stateful_set("team-a", "ml", &uid).await;
    assert!(wrong(&cluster, &ml).await.contains("a StatefulSet and no Pod of it"));

    let _running = cluster.operating(Options::default()).await;
    eventually("the Secret", async || cluster.secret("team-a", "fairlead-ml").await).await;
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "127.0.0.1", |_| ()).await;
    let text = wrong(&cluster, &ml).await;
    for part in ["claims the address 127.0.0.1", "not mounted in `ml-0`"] {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
    let switch = |word: Option<&str>| Patch::Merge(json!({"metadata": {"annotations": {"fairlead.dev/ssh": word}}}));
    let notebooks = cluster.notebooks("team-a");
    notebooks.patch("ml", &PatchParams::default(), &switch(Some("disabled"))).await.unwrap();
    assert!(wrong(&cluster, &ml).await.contains("switched off for this notebook"));
    notebooks.patch("ml", &PatchParams::default(), &switch(None)).await.unwrap();
    cluster.store.switch_off(&ml.namespace, &who("root@example.com"), clock::now()).await.unwrap();
    assert!(wrong(&cluster, &ml).await.contains("an admin of Fairlead switched SSH off in `team-a`"));
    cluster.store.switch_on(&ml.namespace).await.unwrap();
    cluster.delete::<Pod>("team-a", "ml-0").await;

    // A Pod at an address of this machine that is not loopback, with something that greets, or not.
    let Some(ip) = own_address() else { return println!("this machine has no address but loopback") };
    cluster.pod("team-a", "ml-0", "ml", Some(&set), &ip.to_string(), mounted).await;
    let text = wrong(&cluster, &ml).await;
    assert!(text.starts_with("no greeting") && text.contains("sshd: nothing listens there"), "{text}");
    let listener = TcpListener::bind((ip, 2209)).await.unwrap();
    for (greeting, expected) in [("", "mesh: "), ("HTTP/1.1 400", "container: "), ("SSH-2.0-OpenSSH_9.2\r\n", "")] {
        // The operator dials it as well.
        let answering = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                // Whoever has its answer already may have gone.
                let _ = stream.write_all(greeting.as_bytes()).await;
            }
        };
        let text = tokio::select! { text = wrong(&cluster, &ml) => text, () = answering => unreachable!() };
        assert!(if expected.is_empty() { text.is_empty() } else { text.contains(expected) }, "{greeting}: {text}");
    }
    cluster.pod("team-a", "ml-1", "ml", Some(&set), "10.1.0.1", mounted).await;
    assert!(wrong(&cluster, &ml).await.contains("several Pods claim to be it: `ml-0`, `ml-1`"));
    let stop = Patch::Merge(json!({"metadata": {"annotations": {"kubeflow-resource-stopped": "now"}}}));
    notebooks.patch("ml", &PatchParams::default(), &stop).await.unwrap();
    assert_eq!(wrong(&cluster, &ml).await, "the notebook is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_process_is_judged_by_what_gateways_need_and_the_whole_by_who_leads() {
    let cluster = Cluster::start().await;
    let user = cluster.grant_to("fairlead-front", &[Part::Gateway]).await;
    let front = fairlead_lab::apiserver::client_as(&cluster.plane.kubeconfig, Some(&user)).await.unwrap();
    let gateway = |parts: &[Part]| Check { parts: parts.to_vec(), ..check(&cluster, &front) };
    let findings = gateway(&[Part::Gateway]).run(Some(&id("team-a", "ml"))).await;
    assert!(failures(&findings).is_empty(), "{findings:?}");
    let asked = findings.iter().filter(|one| one.what.starts_with("may ")).count();
    assert_eq!(asked, fairlead_server::rights::rights_of(&[Part::Gateway]).count());
    assert!(!failures(&gateway(&EVERY).run(None).await).is_empty(), "with all parts it needs more");

    let says = async |what: &str| {
        let look = async || check(&cluster, &cluster.own).run(None).await;
        eventually(what, async || look().await.iter().any(|one| one.what.contains(what)).then_some(())).await;
    };
    says("no operator has ever led").await;
    says("the gateways' Secret `fairlead-gateway` is not there yet").await;
    says("no Pod here is a gateway").await;
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::new()));
    let lead = |now: fn() -> Time| {
        let one = Candidate::new(cluster.own.clone(), SYSTEM, "one", metrics.clone(), now).unwrap();
        tokio::spawn(one.lead(stop.clone(), async || std::future::pending().await))
    };
    let leads = async || eventually("a leader", async || (metrics.leader.get() == 1).then_some(())).await;
    let one = lead(clock::now);
    leads().await;
    says("leads, and renewed that ").await;
    one.abort();
    says("no operator leads, and keys reach no notebook").await;
    metrics.leader.set(0);
    let _one = lead(|| clock::now().plus_seconds(-3600));
    leads().await;
    says("leads, by a clock that differs from this one by about 36").await;
    cluster
        .apply(Some(SYSTEM), json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-gateway"}}))
        .await;
    says("Fairlead did not make it: gateways get no host key").await;
    cluster
        .pod(SYSTEM, "front-0", "front", None, "10.1.0.9", |pod| {
            pod["metadata"]["labels"] = json!({"fairlead.dev/gateway": "true"});
        })
        .await;
    cluster
        .pod(SYSTEM, "operator-0", "operator", None, "10.1.0.10", |pod| {
            pod["metadata"]["labels"] =
                json!({"fairlead.dev/gateway": "true", "app.kubernetes.io/component": "operator"});
        })
        .await;
    says("gateways: 1, all of them ready").await;
}

#[test]
fn a_notebook_is_named_as_kubectl_or_ssh_name_it() {
    let suffix = HostSuffix::default();
    for text in ["team-a/ml", "ml.team-a.notebook"] {
        assert_eq!(check::parse_notebook(text, &suffix).unwrap(), id("team-a", "ml"));
    }
    for text in ["ml", "team-a/ml/x", "../x", ""] {
        assert!(format!("{:#}", check::parse_notebook(text, &suffix).unwrap_err()).contains("hint:"), "{text}");
    }
}

/// An address of this machine that other machines could know; nothing is sent.
pub(crate) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}
