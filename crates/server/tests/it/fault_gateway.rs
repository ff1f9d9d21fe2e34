//! Gateways that end: one of two dies, and the other does not notice; and one is asked to stop while somebody is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::rbac::v1::RoleBinding;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::eventually;
use crate::databases::Database;
use crate::fault_site::Site;
use crate::full::full;
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_killed_takes_its_own_sessions_and_nothing_else() {
    let site = Site::start(Database::postgres(Arc::new(Postgres::start())).await).await;
    let _operator = site.serve("operator");
    let _bert = site.notebook("bert").await;
    let (mut one, mut two) = (site.serve("gateway"), site.serve("gateway"));
    one.listens().await;
    two.listens().await;
    let (alice, bob) = (site.person("alice", &one).await, site.person("bob", &two).await);
    site.opens(&alice, "bert").await;
    site.opens(&bob, "bert").await;
    let before = site.sessions().await.len();
    let mut dies = alice.stays_in("bert.team-a.notebook").await;
    let mut lives = bob.stays_in("bert.team-a.notebook").await;
    dies.echoes("both").await;
    lives.echoes("both").await;

    one.kill();
    let began = Instant::now();
    lives.echoes("the other goes on").await;
    bob.gets_into("bert.team-a.notebook").await.is_in("bert");
    assert!(began.elapsed() < Duration::from_secs(3), "a login took {:?}", began.elapsed());
    let (said, after) = dies.ends().await;
    assert!(said.code == Some(255) && after < Duration::from_secs(5), "{said:?} after {after:?}");
    // Both sessions that stay, and the login: none is twice, and the killed gateway's is there.
    site.has_recorded(before + 3, 2).await;
    if full() {
        // The other gateway misses three signs of life, 20 s from one to the next.
        let deadline = Instant::now() + Duration::from_secs(100);
        loop {
            let sessions = site.sessions().await;
            let lost = sessions.iter().filter(|(_, end)| end.as_deref() == Some("lost")).count();
            if lost == 1 {
                break;
            }
            assert!(Instant::now() < deadline, "not said to be lost: {sessions:?}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        lives.echoes("a minute later").await;
        site.has_recorded(before + 3, 1).await;
    }
    drop(lives.child.stdin.take());
    let still_open = usize::from(!full());
    site.has_recorded(before + 3, still_open).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_right_while_a_gateway_drains_is_cut_and_others_go_on() {
    let site = Site::start(Database::sqlite()).await;
    let mut server = site.serve_with("operator,gateway", |command| {
        command.args(["--gateway-drain", "600"]);
    });
    let _bert = site.notebook("bert").await;
    server.listens().await;
    let (alice, bob) = (site.person("alice", &server).await, site.person("bob", &server).await);
    site.opens(&alice, "bert").await;
    site.opens(&bob, "bert").await;
    let mut stays = alice.stays_in("bert.team-a.notebook").await;
    let mut goes = bob.stays_in("bert.team-a.notebook").await;
    kill_process(Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap(), Signal::TERM).unwrap();
    eventually("it drains", async || server.says().contains("gateway drains").then_some(())).await;
    goes.echoes("while it drains").await;
    site.cluster.delete::<RoleBinding>("team-a", "user-bob").await;
    let (said, after) = goes.ends().await;
    assert!(said.code == Some(255) && after < Duration::from_secs(5), "{said:?} after {after:?}");
    stays.echoes("hers goes on").await;
    drop(stays.child.stdin.take());
    server.ends().await;
    let sessions = site.sessions().await;
    assert!(sessions.iter().all(|(_, end)| end.as_deref().is_some_and(|end| end != "drained")), "{sessions:?}");
}
