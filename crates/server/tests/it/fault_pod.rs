//! A notebook that accepts connections and says nothing keeps nobody waiting for ever, and nobody else at all.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::databases::Database;
use crate::fault_site::Site;

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_that_hangs_is_refused_with_its_reason_in_seconds_and_the_others_go_on() {
    let site = Site::start(Database::sqlite()).await;
    let mut server = site.serve("operator,gateway");
    let bert = site.notebook("bert").await;
    let _ernie = site.notebook("ernie").await;
    server.listens().await;
    let (alice, bob) = (site.person("alice", &server).await, site.person("bob", &server).await);
    site.opens(&alice, "bert").await;
    site.opens(&bob, "ernie").await;
    let mut live = bob.stays_in("ernie.team-a.notebook").await;

    bert.signal(Signal::STOP);
    let began = Instant::now();
    let (hangs, others) = tokio::join!(
        async { (alice.gets_into("bert.team-a.notebook").await, began.elapsed()) },
        // Meanwhile.
        async {
            bob.gets_into("ernie.team-a.notebook").await.is_in("ernie");
            live.echoes("as ever").await;
            alice.gets_into("ernie.team-a.notebook").await.is_in("ernie");
            began.elapsed()
        }
    );
    bert.signal(Signal::CONT);
    let (said, after) = hangs;
    said.is_refused("is open and says nothing");
    // The gateway waits 5 s for a greeting.
    assert!(after < Duration::from_secs(9), "the refusal took {after:?}");
    assert!(others < after, "the others waited for it: {others:?}, {after:?}");
    site.opens(&alice, "bert").await;
}
