//! PostgreSQL goes and comes back while people log in and keys change.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::databases::Database;
use crate::fault_server::Steady;
use crate::fault_site::Site;
use crate::full::full;
use crate::gateway_person::Client;
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_restarts_under_load_without_a_failed_login_or_a_lost_record() {
    let postgres = Arc::new(Postgres::start());
    let site = Site::start(Database::postgres(postgres.clone()).await).await;
    let mut server = site.serve("operator,gateway");
    let _bert = site.notebook("bert").await;
    server.listens().await;
    let alice = site.person("alice", &server).await;
    site.opens(&alice, "bert").await;
    let mut live = alice.stays_in("bert.team-a.notebook").await;
    let pause = Duration::from_millis(150);
    let steady = Steady::begin(alice, "bert", pause);

    let mut newcomers: Vec<(Client, Duration)> = Vec::new();
    for round in 0..if full() { 6 } else { 2 } {
        // Every connection breaks, and new ones are refused, for some seconds.
        postgres.stop();
        let away = Instant::now();
        while away.elapsed() < Duration::from_secs(3) {
            live.echoes("through it all").await;
            steady.goes_on();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        postgres.resume_from_stop();
        // A key that is added now opens soon, in the Secret and at the gateway.
        let client = site.person("bob", &server).await;
        let added = Instant::now();
        site.opens(&client, "bert").await;
        let key = client.public();
        crate::cluster::eventually("the new key in the Secret", async || {
            site.secret("bert").await.filter(|files| files["authorized_keys"].contains(key.line())).map(drop)
        })
        .await;
        newcomers.push((client, added.elapsed()));
        println!("round {round}: a new key was in effect after {:?}", newcomers[round].1);
        assert!(newcomers[round].1 < Duration::from_secs(6), "a new key took {:?}", newcomers[round].1);
    }
    let (logins, longest) = steady.ends().await;
    println!("{logins} logins, the longest {longest:?}");
    assert!(longest < Duration::from_secs(5), "a login took {longest:?}");
    drop(live.child.stdin.take());
    site.has_recorded_all_of(&server).await;
}
