//! What gateways show: by mounted files, and the Secret that those are of.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead_model::HostSuffix;
use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::gateway_identity::{GatewayIdentity, SECRET};
use fairlead_model::identity::{Authority, Master, host_identity};
use fairlead_server::clock;
use fairlead_server::gateway_identity::Shown;
use fairlead_server::identity_store::IdentityStore;
use fairlead_server::operator::gateway_secret;
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, PATIENCE, SYSTEM, eventually};

fn identity(seed: u8) -> GatewayIdentity {
    let authority = Authority::from_openssh(&Authority::generate(&[seed; 32]).unwrap()).unwrap();
    let master = Master::from_bytes(&[7; 32]).unwrap();
    let host = host_identity(&master, &authority, "gateway", 0, GATEWAY_ALIAS, clock::now()).unwrap();
    GatewayIdentity { host, authorities: vec![authority.public_line()], revoked: Vec::new() }
}

fn write(dir: &Path, identity: &GatewayIdentity) {
    for (name, bytes) in identity.secret(SYSTEM).data.unwrap() {
        std::fs::write(dir.join(name), bytes.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_waited_for_and_followed_and_bad_ones_replace_no_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let said = Arc::new(Mutex::new(String::new()));
    let told = said.clone();
    let path = dir.path().to_owned();
    let waiting = tokio::spawn(async move {
        let wanting = |why: &str| why.clone_into(&mut told.lock().unwrap());
        Shown::by_files(&path, SYSTEM, HostSuffix::default(), clock::now, &stop, wanting).await
    });
    let says = async |what: &str| {
        eventually(what, async || said.lock().unwrap().contains(what).then_some(())).await;
    };
    says("`ssh_host_ed25519_key` is not there").await;
    assert!(said.lock().unwrap().contains("hint: kubectl get secret -n fairlead-system fairlead-gateway"));
    std::fs::write(dir.path().join("ssh_host_ed25519_key"), "nonsense").unwrap();
    says("`ssh_host_ed25519_key` is no private key of OpenSSH").await;
    let (first, second) = (identity(1), identity(2));
    write(dir.path(), &first);
    let Shown { host, mut known_hosts } = timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert_eq!(*host.borrow(), first.host);
    assert_eq!(*known_hosts.borrow(), first.known_hosts(&HostSuffix::default()));

    // The other CA's certificate without the other CA: nobody gets to see it.
    std::fs::write(dir.path().join("ssh_host_ed25519_key-cert.pub"), &second.host.certificate).unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(host.borrow().certificate, first.host.certificate);
    write(dir.path(), &second);
    let lines = second.known_hosts(&HostSuffix::default());
    drop(timeout(PATIENCE, known_hosts.wait_for(|now| *now == lines)).await.unwrap().unwrap());
    assert_eq!(*host.borrow(), second.host);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_secret_is_kept_as_it_should_be_and_somebody_elses_is_left_alone() {
    let cluster = Cluster::start().await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"ssh_host_ed25519_key": "somebody's"}});
    cluster.apply(Some(SYSTEM), foreign).await;
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    let made = kept.load_or_create().await.unwrap();
    // They are there before their Secret is, so their kubelets know of none.
    for (name, label) in [("front-1", "true"), ("front-2", "true"), ("other", "false")] {
        let pod = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"fairlead.dev/gateway": label}},
            "spec": {"containers": [{"name": "fairlead", "image": "fairlead"}]}});
        cluster.apply(Some(SYSTEM), pod).await;
    }
    let touched = async |pod: &str| {
        cluster.api::<Pod>(SYSTEM).get(pod).await.unwrap().metadata.annotations?.remove("fairlead.dev/secret-version")
    };
    let stop = CancellationToken::new();
    let identity = kept.clone().follow(made.clone(), Duration::from_millis(200), &stop);
    let (client, every) = (cluster.own.clone(), Duration::from_millis(300));
    let work = gateway_secret::keep(client, SYSTEM.to_owned(), identity, every, clock::now);
    let work = tokio::spawn(work);
    let data = async || cluster.secret(SYSTEM, SECRET).await?.data;
    // The database's own CA is there before: what is not written in two seconds never is.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(data().await.unwrap()["ssh_host_ed25519_key"].0, b"somebody's");

    cluster.delete::<Secret>(SYSTEM, SECRET).await;
    let wanted = made.for_gateways(clock::now()).unwrap().secret(SYSTEM).data;
    eventually("it is written", async || (data().await == wanted).then_some(())).await;
    cluster
        .apply(
            Some(SYSTEM),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
        "stringData": {"authorities": "another"}}),
        )
        .await;
    eventually("it is put back", async || (data().await == wanted).then_some(())).await;
    cluster.delete::<Secret>(SYSTEM, SECRET).await;
    eventually("it is made again", async || (data().await == wanted).then_some(())).await;

    let begun = kept.begin_rotation().await.unwrap();
    let wanted = begun.for_gateways(clock::now()).unwrap().secret(SYSTEM).data;
    eventually("both CAs are in it", async || (data().await == wanted).then_some(())).await;
    let version = cluster.secret(SYSTEM, SECRET).await.unwrap().metadata.resource_version;
    for pod in ["front-1", "front-2"] {
        eventually("its kubelet is told", async || (touched(pod).await == version).then_some(())).await;
    }
    assert_eq!(touched("other").await, None);
    work.abort();
}
