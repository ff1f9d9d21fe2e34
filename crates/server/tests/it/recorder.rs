//! The recorder, while PostgreSQL is there, stopped, frozen and back.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_server::recorder::Recorder;
use fairlead_server::store::{Store, Topic};
use tokio::time::timeout;

use crate::databases::{Database, on_both};
use crate::postgres::Postgres;
use crate::rows::{NOW, begin, end, event, key, person};

#[test]
fn what_happens_is_written() {
    on_both(|database| async move {
        let store = database.open().await;
        let recorder = Recorder::start(store.clone());
        recorder.begin(begin("a", 0)).await;
        assert_eq!(store.list_sessions(None, 10).await.unwrap(), [(begin("a", 0), None)]);
        recorder.end(end("a", 1, "closed"));
        // Both at one moment: the order stays.
        recorder.audit(event("key-added", 2));
        recorder.audit(event("key-removed", 2));
        assert_eq!(recorder.flush(Duration::from_secs(5)).await, 0);
        assert_eq!(store.list_sessions(None, 10).await.unwrap(), [(begin("a", 0), Some(end("a", 1, "closed")))]);
        assert_eq!(store.list_audit(10).await.unwrap(), [event("key-removed", 2), event("key-added", 2)]);
    });
}

#[test]
fn a_record_that_is_refused_holds_up_no_other() {
    on_both(|database| async move {
        let store = database.open().await;
        let recorder = Recorder::start(store.clone());
        let mut bad = event("bad\0", 0);
        bad.detail = None;
        recorder.audit(bad);
        recorder.begin(begin("a", 0)).await;
        assert_eq!(recorder.flush(Duration::from_secs(5)).await, 0);
        assert_eq!(store.list_sessions(None, 10).await.unwrap().len(), 1);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_while_postgresql_is_stopped_and_are_written_when_it_is_back() {
    away(Postgres::stop, Postgres::resume_from_stop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_begin_while_postgresql_is_frozen_and_are_written_when_it_goes_on() {
    away(Postgres::freeze, Postgres::thaw).await;
}

/// Tells the story of an outage.
async fn away(goes: fn(&Postgres), comes_back: fn(&Postgres)) {
    let server = Arc::new(Postgres::start());
    let database = Database::postgres(server.clone()).await;
    let store = database.open().await;
    let mut changes = store.changes(Topic::Keys);
    let recorder = Recorder::start(store.clone());
    recorder.begin(begin("before", 0)).await;

    goes(&server);
    for (id, seconds) in [("first", 1), ("second", 2)] {
        let start = Instant::now();
        recorder.begin(begin(id, seconds)).await;
        let took = start.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_millis(1500)).contains(&took), "{took:?}");
    }
    // An end is lost unless its begin was written first.
    recorder.end(end("before", 3, "closed"));
    recorder.end(end("second", 4, "closed"));
    recorder.audit(event("target-refused", 5));
    assert_eq!(recorder.flush(Duration::from_millis(10)).await, 5);
    let start = Instant::now();
    assert!(store.add_key(&person("alice"), &key(1), "", NOW).await.is_err());
    assert!(start.elapsed() < Duration::from_secs(9), "a call ends while the database is away");

    comes_back(&server);
    assert_eq!(recorder.flush(Duration::from_secs(20)).await, 0);
    let expected = [
        (begin("second", 2), Some(end("second", 4, "closed"))),
        (begin("first", 1), None),
        (begin("before", 0), Some(end("before", 3, "closed"))),
    ];
    assert_eq!(store.list_sessions(None, 10).await.unwrap(), expected);
    assert_eq!(store.list_audit(10).await.unwrap(), [event("target-refused", 5)]);

    // Changes are seen again.
    changes.mark_unchanged();
    let other = Store::open(database.url()).await.unwrap();
    other.add_key(&person("bob"), &key(2), "", NOW).await.unwrap();
    timeout(Duration::from_secs(10), changes.changed()).await.expect("a key was added").unwrap();
}
