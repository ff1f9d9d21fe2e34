//! The API server hangs, dies and comes back, again and again, and nobody who logs in notices.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::cluster::{eventually, new_key};
use crate::databases::Database;
use crate::fault_server::Steady;
use crate::fault_site::Site;
use crate::full::full;

/// How long the API server is away each time, and there each time.
const AWAY: Duration = Duration::from_secs(3);
/// How many keys are added meanwhile: a person has fifty at most.
const KEYS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_flapping_api_server_costs_nobody_a_login_a_session_or_a_key() {
    let site = Site::start(Database::sqlite()).await;
    let mut server = site.serve("operator,gateway");
    let _bert = site.notebook("bert").await;
    server.listens().await;
    let alice = site.person("alice", &server).await;
    site.opens(&alice, "bert").await;
    let mut live = alice.stays_in("bert.team-a.notebook").await;
    eventually("alice's key in the Secret", async || (site.keys_in("bert").await == 1).then_some(())).await;
    let steady = Steady::begin(alice, "bert", Duration::from_millis(300));
    let (before, _) = server.costs();

    let flaps = Duration::from_secs(if full() { 300 } else { 24 });
    let (began, mut round, mut added, mut keys) = (Instant::now(), 0, 0, 1);
    while began.elapsed() < flaps {
        round += 1;
        // Half of the times it hangs, half of the times it is gone.
        let hangs = round % 2 == 1;
        if hangs {
            site.cluster.plane.signal_server(Signal::STOP).expect("it can be stopped");
        } else {
            site.cluster.plane.stop_server().expect("it can be killed");
        }
        let away = Instant::now();
        while away.elapsed() < AWAY {
            live.echoes("still there").await;
            steady.goes_on();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if hangs {
            site.cluster.plane.signal_server(Signal::CONT).expect("it can go on");
        } else {
            site.cluster.plane.start_server().await.expect("it starts again");
        }
        // A key of somebody who may get in, now and then: none of those before may be missing.
        let now = site.keys_in("bert").await;
        assert!(now >= keys, "the Secret had {keys} keys, and has {now}");
        keys = now;
        if added < KEYS {
            added += 1;
            let key = new_key(&format!("bob-{added}"));
            let bob = crate::cluster::who(&crate::browser_site::mail("bob"));
            site.cluster.store.add_key(&bob, &key, "", fairlead_server::clock::now()).await.expect("a key is added");
        }
    }
    let back = Instant::now();
    eventually("every key in the Secret", async || (site.keys_in("bert").await == 1 + added).then_some(())).await;
    println!("{round} times away; converged after {:?}", back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(15), "it took {:?}", back.elapsed());
    let (logins, longest) = steady.ends().await;
    live.echoes("and after").await;
    let (after, cpu) = server.costs();
    println!("{logins} logins, the longest {longest:?}; resident {before} KiB, then {after} KiB; CPU {cpu:?}");
    assert!(after < before + 40 * 1024, "it grew from {before} KiB to {after} KiB");
}
