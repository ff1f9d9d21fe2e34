//! What the operator finds wrong, as every process's world has it; on a real API server.

use std::time::Duration;

use fairlead_model::access::{self, SSHD_PORT, State};
use fairlead_model::{Trouble, World};
use k8s_openapi::api::core::v1::Secret;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Options, id};
use crate::gateway_bed::Sshd;

fn has(world: &World, trouble: Trouble) -> bool {
    world.troubles(&id("team-a", "ml")).eq([trouble])
}

fn has_none(world: &World) -> bool {
    world.troubles(&id("team-a", "ml")).next().is_none()
}

fn impatient() -> Options {
    Options { greeting_patience: Duration::from_secs(1), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_an_sshd_is_known_to_all_also_to_the_next_operator() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let pod = Sshd::absent();
    cluster.running_notebook("team-a", "ml", &pod.ip.to_string()).await;
    let mut running = cluster.operating(impatient()).await;
    let world = running.sees("no sshd", |world| has(world, Trouble::NoSshd)).await;
    assert_eq!(access::state(&world, &id("team-a", "ml")), State::NoSshd);
    drop(running);

    // Another operator does not take it back before it has looked for itself.
    let mut running = cluster.operating(Options::default()).await;
    running.sees("no sshd", |world| has(world, Trouble::NoSshd)).await;
    running.has_listed().await;
    let gone = tokio::time::timeout(Duration::from_secs(3), running.worlds.wait_for(|world| has_none(world))).await;
    assert!(gone.is_err(), "nobody has looked");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sshd_that_comes_late_or_behind_a_policy_that_goes_is_found() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let pod = Sshd::absent();
    cluster.running_notebook("team-a", "ml", &pod.ip.to_string()).await;
    let mut running = cluster.operating(impatient()).await;
    running.sees("no sshd", |world| has(world, Trouble::NoSshd)).await;
    let listener = TcpListener::bind((pod.ip, SSHD_PORT)).await.unwrap();
    let greeting = tokio::spawn(async move {
        loop {
            let _ = listener.accept().await.unwrap().0.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await;
        }
    });
    running.sees("it greets", has_none).await;
    greeting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_way_is_known_to_all_until_it_is_gone() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-ml"},
        "data": {"token": "c2VjcmV0"}});
    cluster.apply(Some("team-a"), foreign).await;
    let pod = Sshd::absent();
    cluster.running_notebook("team-a", "ml", &pod.ip.to_string()).await;
    let mut running = cluster.operating(Options::default()).await;
    // No sshd answers in this Pod either, which is found sooner or later.
    let is_taken = |world: &World| world.troubles(&id("team-a", "ml")).any(|one| one == Trouble::SecretTaken);
    let world = running.sees("it is taken", is_taken).await;
    assert_eq!(access::state(&world, &id("team-a", "ml")), State::SecretProblem);
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    let world = running.sees("its own is there", |world| !is_taken(world)).await;
    assert_ne!(access::state(&world, &id("team-a", "ml")), State::SecretProblem);
}
