//! Two gateways on one PostgreSQL, each with its own connections to it, as in two Pods.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use fairlead_server::clock;
use fairlead_server::store::Store;

use crate::databases::Database;
use crate::gateway_bed::{Bed, eventually, person};
use crate::postgres::Postgres;

const BERT: &str = "bert.team-a.notebook";
/// The database is looked at twice a second.
const SOON: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_session_in_one_gateway_is_ended_by_an_ask_that_another_process_made() {
    let database = Database::postgres(Postgres::shared()).await;
    let bed = Bed::on(tempfile::tempdir().unwrap(), database.open().await, |_| {}).await;
    // What the page of the other process works with.
    let elsewhere = database.open().await;
    let other = bed.beside(elsewhere.clone()).await;
    let alice = bed.person("alice").await;
    let there = bed.confirmed_at(other, "alice").await;
    let one = alice.stays_in(BERT).await;
    let session = only_session(&elsewhere).await;
    let mut two = there.stays_in(BERT).await;
    eventually("both are in the database", async || {
        (elsewhere.live_sessions().await.unwrap().len() == 2).then_some(())
    })
    .await;

    assert!(elsewhere.ask_end(&session, &person("alice"), clock::now()).await.unwrap());
    let (said, took) = one.ends().await;
    assert!(took < SOON && said.err.contains("this session was ended on request"), "{took:?} {said:?}");
    two.echoes("still here").await;
    let end = eventually("its end", async || elsewhere.session(&session).await.unwrap().unwrap().1).await;
    assert_eq!(end.reason, "ended by alice@example.com");

    // And the other way round.
    let session = only_session(&bed.store).await;
    assert!(bed.store.ask_end(&session, &person("alice"), clock::now()).await.unwrap());
    let (said, took) = two.ends().await;
    assert!(took < SOON && said.err.contains("this session was ended on request"), "{took:?} {said:?}");
}

async fn only_session(store: &Store) -> String {
    eventually("one session", async || {
        let mut live = store.live_sessions().await.unwrap();
        (live.len() == 1).then(|| live.remove(0).id)
    })
    .await
}
