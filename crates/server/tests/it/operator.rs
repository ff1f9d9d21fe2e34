//! What the operator writes, heals, leaves alone and says; on a real API server, with the rights of the manifests.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use fairlead_model::PublicKey;
use fairlead_model::plan::TOUCHED;
use fairlead_server::clock;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::cluster::{Cluster, Options, Output, eventually, id, mounted, new_key, who};

/// A file of a notebook's Secret.
fn file(secret: &Secret, name: &str) -> String {
    let data = secret.data.as_ref().unwrap();
    String::from_utf8(data.get(name).unwrap_or_else(|| panic!("no `{name}`")).0.clone()).unwrap()
}

/// Waits until the Secret of `team-a/ml` is there and as wished.
async fn secret(cluster: &Cluster, what: &str, wish: impl Fn(&Secret) -> bool) -> Secret {
    eventually(what, async || cluster.secret("team-a", "fairlead-ml").await.filter(|secret| wish(secret))).await
}

/// Waits until the Pod of `team-a/ml` was touched for this version of the Secret.
async fn touched(cluster: &Cluster, secret: &Secret) {
    eventually("the Pod is touched", async || {
        let pod = cluster.api::<Pod>("team-a").get("ml-0").await.unwrap();
        (pod.annotations().get(TOUCHED) == secret.metadata.resource_version.as_ref()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_gets_its_secret_and_the_pod_is_touched_after_each_change() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let ann = cluster.key("ann@example.com").await;
    let uid = cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let _running = cluster.operating(Options::default()).await;
    let first = secret(&cluster, "the Secret with her key", |secret| {
        file(secret, "authorized_keys").contains(&format!("{} ann@example.com\n", ann.line()))
    })
    .await;
    assert_eq!(first.owner_references()[0].uid, uid);
    assert_eq!(first.labels()["app.kubernetes.io/managed-by"], "fairlead");
    let certificate = ssh_key::Certificate::from_openssh(&file(&first, "ssh_host_ed25519_key-cert.pub")).unwrap();
    assert_eq!(certificate.valid_principals(), ["ml.team-a.notebook"]);
    let private = ssh_key::PrivateKey::from_openssh(file(&first, "ssh_host_ed25519_key")).unwrap();
    assert_eq!(private.public_key().key_data(), certificate.public_key());
    touched(&cluster, &first).await;

    // A contributor with a key comes: one more line, the same host.
    let bob = cluster.key("bob@example.com").await;
    cluster.contributor("team-a", "user-bob", "bob@example.com", "edit").await;
    let second = secret(&cluster, "his key", |secret| file(secret, "authorized_keys").contains(bob.line())).await;
    assert_eq!(file(&second, "ssh_host_ed25519_key"), file(&first, "ssh_host_ed25519_key"));
    touched(&cluster, &second).await;

    // He leaves: without his key, and with another host key, since he could read the one before.
    cluster.delete::<RoleBinding>("team-a", "user-bob").await;
    let third = secret(&cluster, "no key of his", |secret| !file(secret, "authorized_keys").contains(bob.line())).await;
    assert_ne!(file(&third, "ssh_host_ed25519_key"), file(&first, "ssh_host_ed25519_key"));
    touched(&cluster, &third).await;
    assert_eq!(cluster.store.epochs().await.unwrap()[&id("team-a", "ml").namespace], 1);
    // What the page shows is what the Secret has.
    let shown = PublicKey::parse(&file(&third, "ssh_host_ed25519_key.pub")).unwrap().0;
    eventually("the new host key in the database", async || {
        let key = cluster.store.host_key(&id("team-a", "ml")).await.unwrap();
        (key.as_ref() == Some(&shown)).then_some(())
    })
    .await;

    // And clients are told to refuse the one that he could read.
    let old = PublicKey::parse(&file(&first, "ssh_host_ed25519_key.pub")).unwrap().0;
    let ml = id("team-a", "ml");
    let revoked = cluster.store.revoked_host_keys(&[&ml.namespace].into(), clock::now()).await.unwrap();
    assert_eq!(revoked, [(ml.clone(), old)]);

    // Switched off: the Secret stays and lets nobody in.
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"fairlead.dev/ssh": "disabled"}}}));
    cluster.notebooks("team-a").patch("ml", &PatchParams::default(), &patch).await.unwrap();
    let off = secret(&cluster, "no key at all", |secret| !file(secret, "authorized_keys").contains(ann.line())).await;
    touched(&cluster, &off).await;
    assert!(file(&off, "authorized_keys").lines().all(|line| line.starts_with('#')));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_made_again_under_its_old_name_is_another_host() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let old = cluster.notebook("team-a", "ml").await;
    let _running = cluster.operating(Options::default()).await;
    let first = secret(&cluster, "the Secret", |_| true).await;
    cluster.notebooks("team-a").delete("ml", &DeleteParams::default()).await.unwrap();
    let new = cluster.notebook("team-a", "ml").await;
    assert_ne!(old, new);
    // Nobody collects garbage here: the old one's Secret is in the way until it is deleted.
    eventually("it is said", async || {
        cluster.events("team-a").await.contains(&"SshSecretLeftover".into()).then_some(())
    })
    .await;
    assert_eq!(cluster.secret("team-a", "fairlead-ml").await.unwrap().owner_references()[0].uid, old);
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    let second = secret(&cluster, "the new one's", |secret| secret.owner_references()[0].uid == new).await;
    assert_eq!(second.owner_references().len(), 1);
    assert_ne!(file(&second, "ssh_host_ed25519_key"), file(&first, "ssh_host_ed25519_key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_or_changed_is_put_back() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let ann = cluster.key("ann@example.com").await;
    cluster.notebook("team-a", "ml").await;
    let running = cluster.operating(Options { resync: Duration::from_secs(1), ..Options::default() }).await;
    let with_key = |secret: &Secret| file(secret, "authorized_keys").contains(ann.line());
    let first = secret(&cluster, "the Secret", with_key).await;
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    let healed = secret(&cluster, "healed", |secret| secret.uid() != first.uid()).await;
    assert_eq!(healed.data, first.data, "the same bytes");

    // An editor puts a key of their own in.
    let eve = new_key("eve@example.com");
    let text = ByteString(format!("{} eve\n", eve.line()).into_bytes());
    let patch = Patch::Merge(json!({"data": {"authorized_keys": text}}));
    let secrets = cluster.api::<Secret>("team-a");
    secrets.patch("fairlead-ml", &PatchParams::default(), &patch).await.unwrap();
    let healed = secret(&cluster, "hers is gone", with_key).await;
    assert!(!file(&healed, "authorized_keys").contains(eve.line()));
    eventually("it is said", async || {
        cluster.events("team-a").await.contains(&"SshSecretRestored".into()).then_some(())
    })
    .await;

    // Nothing more to do: nothing is written, although every Secret is looked after each second.
    let version = healed.resource_version();
    let (written, unchanged) = (running.writes("written"), running.writes("unchanged"));
    assert!(written >= 3, "made, made again and put back, not {written}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(cluster.secret("team-a", "fairlead-ml").await.unwrap().resource_version(), version);
    assert_eq!(running.writes("written"), written);
    assert!(running.writes("unchanged") > unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_somebody_else_is_reported_and_not_taken() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-ml"},
        "data": {"token": "c2VjcmV0"}});
    cluster.apply(Some("team-a"), foreign).await;
    cluster.notebook("team-a", "ml").await;
    cluster.notebook("team-a", "other").await;
    let running = cluster.operating(Options::default()).await;
    eventually("it is said", async || cluster.events("team-a").await.contains(&"SshSecretTaken".into()).then_some(()))
        .await;
    eventually("the others are served", async || cluster.secret("team-a", "fairlead-other").await).await;
    let left = cluster.secret("team-a", "fairlead-ml").await.unwrap();
    assert_eq!(left.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["token"]);
    assert!(left.owner_references().is_empty());
    // It is tried again, and said no more.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(cluster.events("team-a").await, ["SshSecretTaken"]);
    assert!(running.writes("foreign") >= 2);
    assert_eq!((running.writes("written"), running.writes("failed")), (1, 0));
    let audit = cluster.store.list_audit(10).await.unwrap();
    assert_eq!(audit.iter().filter(|event| event.object.as_deref() == Some("team-a/ml")).count(), 1);
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    secret(&cluster, "its own", |secret| secret.labels().contains_key("fairlead.dev/notebook")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_changed_is_reported_and_made_again_once_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let ann = cluster.key("ann@example.com").await;
    cluster.notebook("team-a", "ml").await;
    cluster.notebook("team-a", "other").await;
    let running = cluster.operating(Options { resync: Duration::from_secs(1), ..Options::default() }).await;
    let with = |secret: &Secret, line: &str| file(secret, "authorized_keys").contains(line);
    let mut again = secret(&cluster, "the Secret", |secret| with(secret, ann.line())).await;
    eventually("the other", async || cluster.secret("team-a", "fairlead-other").await).await;

    // An editor freezes one, and makes the other again with the same label and owner but another type.
    let secrets = cluster.api::<Secret>("team-a");
    let frozen = Patch::Merge(json!({"immutable": true}));
    secrets.patch("fairlead-other", &PatchParams::default(), &frozen).await.unwrap();
    again.metadata.resource_version = None;
    again.metadata.managed_fields = None;
    again.type_ = Some("example.com/mine".to_owned());
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    while secrets.create(&PostParams::default(), &again).await.is_err() {
        // The operator was quicker.
        cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    }
    let bob = cluster.key("bob@example.com").await;
    cluster.contributor("team-a", "user-bob", "bob@example.com", "edit").await;
    eventually("both are said", async || {
        let events = cluster.events("team-a").await;
        (events.iter().filter(|reason| *reason == "SshSecretFrozen").count() == 2).then_some(())
    })
    .await;
    assert!(running.writes("failed") >= 2);
    let audit = cluster.store.list_audit(10).await.unwrap();
    let said = audit.iter().filter(|event| event.detail.as_deref() == Some("SshSecretFrozen"));
    let mut objects: Vec<_> = said.filter_map(|event| event.object.as_deref()).collect();
    objects.sort_unstable();
    assert_eq!(objects, ["team-a/ml", "team-a/other"]);

    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    secret(&cluster, "made again, with his key", |secret| with(secret, bob.line())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_another_replica_raised_is_taken_up() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.notebook("team-a", "ml").await;
    let _running = cluster.operating(Options { resync: Duration::from_secs(1), ..Options::default() }).await;
    let first = secret(&cluster, "the Secret", |_| true).await;
    // The other one saw somebody come and go whom this one never saw.
    let (ann, bob) = (who("ann@example.com"), who("bob@example.com"));
    let namespace = id("team-a", "ml").namespace;
    cluster.store.note_readers(&namespace, &[ann.clone(), bob].into()).await.unwrap();
    assert_eq!(cluster.store.note_readers(&namespace, &[ann].into()).await.unwrap(), 1);
    let host = |secret: &Secret| file(secret, "ssh_host_ed25519_key");
    secret(&cluster, "another host key", |secret| host(secret) != host(&first)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_prints_what_it_would_write_and_writes_nothing() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let ann = cluster.key("ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let before = cluster.api::<Pod>("team-a").get("ml-0").await.unwrap();
    let output = Output::default();
    let _running = cluster.operating(Options { output: Some(output.clone()), ..Options::default() }).await;
    let text = eventually("it prints", async || Some(output.text()).filter(|text| text.ends_with("Opaque\n"))).await;
    for line in ["name: fairlead-ml", "namespace: team-a", "authorized_keys: \"[redacted]\""] {
        assert!(text.contains(line), "no `{line}` in\n{text}");
    }
    assert!(!text.contains("PRIVATE") && !text.contains(ann.line()), "{text}");
    let secrets: kube::Api<Secret> = kube::Api::all(cluster.admin.clone());
    assert!(secrets.list(&ListParams::default()).await.unwrap().items.is_empty());
    assert_eq!(cluster.api::<Pod>("team-a").get("ml-0").await.unwrap(), before);
    assert!(cluster.events("team-a").await.is_empty());
    assert_eq!(cluster.store.authority().await.unwrap(), None);
    assert!(cluster.store.epochs().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_pod_is_said_once_for_each_cause() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let uid = cluster.notebook("team-a", "ml").await;
    let set = cluster.stateful_set("team-a", "ml", &uid).await;
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "192.0.2.1", |_| ()).await;
    let patience = Duration::from_secs(1);
    let _running = cluster.operating(Options { greeting_patience: patience, ..Options::default() }).await;
    let said = async |wanted: &[&str]| {
        eventually(&format!("{wanted:?}"), async || (cluster.events("team-a").await == *wanted).then_some(())).await;
    };
    said(&["SshNeedsRestart"]).await;
    // Restarted, with the mount and without an sshd: 192.0.2.0/24 is nobody's (RFC 5737).
    cluster.delete::<Pod>("team-a", "ml-0").await;
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "192.0.2.2", mounted).await;
    said(&["SshNeedsRestart", "SshNoServer"]).await;
    cluster.pod("team-a", "ml-1", "ml", Some(&set), "192.0.2.3", mounted).await;
    said(&["SshAmbiguousPods", "SshNeedsRestart", "SshNoServer"]).await;
    // The world goes on changing, and nothing is said again.
    cluster.key("ann@example.com").await;
    let one_more = async || cluster.secret("team-a", "fairlead-ml").await;
    eventually("her key", async || one_more().await.filter(|it| file(it, "authorized_keys").contains("ssh-"))).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    said(&["SshAmbiguousPods", "SshNeedsRestart", "SshNoServer"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_the_api_server_was_away_is_written_when_it_is_back() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.notebook("team-a", "ml").await;
    let _running = cluster.operating(Options::default()).await;
    let first = secret(&cluster, "the Secret", |_| true).await;
    cluster.plane.stop_server().unwrap();
    let ann = cluster.key("ann@example.com").await;
    // Long enough for a try that fails.
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.plane.start_server().await.unwrap();
    let second = secret(&cluster, "her key", |secret| file(secret, "authorized_keys").contains(ann.line())).await;
    assert_eq!(second.uid(), first.uid());
}

#[tokio::test(flavor = "multi_thread")]
async fn nobodys_key_is_taken_away_before_the_rows_are_read() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let ann = cluster.key("ann@example.com").await;
    cluster.notebook("team-a", "ml").await;
    let with_key = |secret: &Secret| file(secret, "authorized_keys").contains(ann.line());
    let first = {
        let _running = cluster.operating(Options::default()).await;
        secret(&cluster, "the Secret", with_key).await
    };
    let mut running = cluster.operating(Options { keys: false, ..Options::default() }).await;
    running.has_listed().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let left = cluster.secret("team-a", "fairlead-ml").await.unwrap();
    assert_eq!(left.resource_version(), first.resource_version());
    let bob = cluster.key("bob@example.com").await;
    cluster.contributor("team-a", "user-bob", "bob@example.com", "edit").await;
    running.facts.send(cluster.store.key_fact(clock::now()).await.unwrap()).await.unwrap();
    running.facts.send(cluster.store.switches_fact().await.unwrap()).await.unwrap();
    let both = |secret: &Secret| with_key(secret) && file(secret, "authorized_keys").contains(bob.line());
    secret(&cluster, "both keys", both).await;
}
