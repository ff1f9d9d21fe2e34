//! Rights that come and go: in seconds, at the gateway and in the Pod, for live sessions too.

use std::time::Duration;

use fairlead_lab::kubeflow::contributor::{Role, contributor};
use fairlead_lab::people::Person;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::stage::{Live, Stage, within};

/// What the design promises, from a change to its effect.
const SOON: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_added_and_confirmed_works_in_the_pod_in_seconds() {
    let (stage, alice) = Stage::new("keys").await;
    stage.notebook("bert").await;
    let host = stage.host("bert");
    stage.let_in(&alice, "bert", 30).await;

    // By herself: claimed with the old key, confirmed with the new one.
    let laptop = stage.stranger("laptop");
    configure_like(&laptop, &alice);
    let claimed = alice
        .ssh("fairlead-gateway", &format!("keys add {}", laptop.public_key().unwrap().trim()))
        .await
        .unwrap()
        .unwrap();
    let code = claimed.split_whitespace().last().expect("a code").to_owned();
    let unconfirmed = laptop.ssh(&host, "true").await.unwrap().unwrap_err();
    assert!(unconfirmed.contains("Permission denied (publickey)"), "{unconfirmed}");
    laptop.ssh("confirm@fairlead-gateway", &format!("confirm {code}")).await.unwrap().unwrap();
    stage.let_in(&laptop, "bert", SOON).await;

    let mut took = Vec::new();
    for number in 0..20 {
        let next = stage.stranger(&format!("key{number}"));
        configure_like(&next, &alice);
        let public = next.public_key().unwrap();
        stage.fairlead.admin(&["keys", "add", &alice.user, "-"], &public).unwrap();
        took.push(stage.let_in(&next, "bert", 10).await);
    }
    took.sort();
    assert!(took[18] < Duration::from_secs(SOON), "p95 of {took:?}");
    report("key registered to first login, median and p95 of 20", &[took[10], took[18]]);

    // Removed: live sessions end, new ones are refused, at the gateway and by the Pod itself.
    let live = Live::open(&laptop, &host).await;
    let fingerprint = fingerprint(&laptop);
    alice.ssh("fairlead-gateway", &format!("keys remove {fingerprint}")).await.unwrap().unwrap();
    let (cut, _) = live.ends_within(SOON).await;
    report("key removed to session cut", &[cut]);
    stage.refused(&laptop, "bert", "Permission denied", SOON).await;
    let inside = format!("grep -c {} /var/run/secrets/fairlead/authorized_keys || true", base64(&laptop));
    let gone = async || (alice.ssh(&host, &inside).await.unwrap().ok()?.trim() == "0").then_some(());
    within(SOON, "the key is gone from the Pod", gone).await;
    stage.logs(&["session", "key-removed", &laptop_owner(&alice)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_right_cuts_live_sessions_and_leaves_the_others() {
    let (stage, alice) = Stage::new("rights").await;
    stage.notebook("bert").await;
    let bob = stage.member("bob", Role::Edit).await;
    let host = stage.host("bert");
    stage.let_in(&bob, "bert", 30).await;
    let mut hers = Live::open(&alice, &host).await;

    // A contributor who is removed.
    let his = Live::open(&bob, &host).await;
    let (binding, _) = contributor(&stage.name, &bob.user, Role::Edit);
    let bindings: Api<RoleBinding> = Api::namespaced(stage.client.clone(), &stage.name);
    bindings.delete(&binding.metadata.name.clone().unwrap_or_default(), &DeleteParams::default()).await.unwrap();
    let (cut, _) = his.ends_within(SOON).await;
    report("contributor removed to session cut", &[cut]);
    stage.refused(&bob, "bert", "no such notebook, or it is not yours", SOON).await;
    hers.echoes().await;
    stage.logs(&["stranger", &bob.user]).await;

    // The notebook's switch, and the namespace's.
    stage.patch("bert", json!({"metadata": {"labels": {"fairlead.dev/ssh": "disabled"}}})).await;
    hers.ends_within(SOON).await;
    stage.refused(&alice, "bert", "SSH is switched off for this notebook", SOON).await;
    stage.patch("bert", json!({"metadata": {"labels": {"fairlead.dev/ssh": null}}})).await;
    stage.let_in(&alice, "bert", 10).await;

    let hers = Live::open(&alice, &host).await;
    let spaces: Api<Namespace> = Api::all(stage.client.clone());
    let label = |value: serde_json::Value| Patch::Merge(json!({"metadata": {"labels": {"fairlead.dev/ssh": value}}}));
    spaces.patch(&stage.name, &PatchParams::default(), &label(json!("disabled"))).await.unwrap();
    hers.ends_within(SOON).await;
    stage.refused(&alice, "bert", "SSH is not switched on for this profile", SOON).await;
    spaces.patch(&stage.name, &PatchParams::default(), &label(json!(null))).await.unwrap();
    stage.let_in(&alice, "bert", 10).await;

    // Stopped, and deleted.
    let hers = Live::open(&alice, &host).await;
    stage.patch("bert", json!({"metadata": {"annotations": {"kubeflow-resource-stopped": "now"}}})).await;
    hers.ends_within(SOON).await;
    stage.refused(&alice, "bert", "the notebook is stopped", SOON).await;
    stage.patch("bert", json!({"metadata": {"annotations": {"kubeflow-resource-stopped": null}}})).await;
    stage.let_in(&alice, "bert", 60).await;
    let hers = Live::open(&alice, &host).await;
    stage.notebooks().delete("bert", &DeleteParams::default()).await.unwrap();
    hers.ends_within(SOON).await;
    stage.refused(&alice, "bert", "there is no notebook of this name", SOON).await;
}

/// The same configuration with another key.
fn configure_like(person: &Person, other: &Person) {
    let config = std::fs::read_to_string(other.config()).expect("the other's configuration");
    let (from, to) = (other.path("id_ed25519"), person.path("id_ed25519"));
    let config = config.replace(&from.display().to_string(), &to.display().to_string());
    std::fs::write(person.config(), config).expect("writing a configuration");
}

fn base64(person: &Person) -> String {
    person
        .public_key()
        .expect("a key")
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .chars()
        .rev()
        .take(20)
        .collect::<String>()
        .chars()
        .rev()
        .collect()
}

fn fingerprint(person: &Person) -> String {
    let (key, _) = fairlead_model::PublicKey::parse(&person.public_key().expect("a key")).expect("a good key");
    key.fingerprint().to_string()
}

fn laptop_owner(alice: &Person) -> String {
    alice.user.clone()
}

#[expect(clippy::print_stderr, reason = "the test runner shows it with the test")]
fn report(what: &str, took: &[Duration]) {
    eprintln!("measured: {what}: {took:.2?}");
}
