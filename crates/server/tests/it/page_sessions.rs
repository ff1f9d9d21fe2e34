//! Sessions on the page: what of a profile's is its owner's, files that end before the end, and searches in turn.

use axum::http::Method;
use fairlead_model::world::{Namespace, Switch};
use fairlead_model::{Fact, Time};
use fairlead_server::store::records::Record;
use fairlead_server::store::sessions::SessionBegin;
use serde_json::json;

use crate::databases::Database;
use crate::gateway_bed::{eventually, id, label, person};
use crate::page_bed::PageBed;
use crate::rows::{NOW, begin};

/// team-a of alice, whose namespace was made then.
async fn made(bed: &PageBed, created: Time) {
    let space = Namespace { owner: Some(person("alice")), ssh: Switch::Unset, created };
    bed.fact(Fact::Namespace(label("team-a"), Some(space))).await;
}

#[tokio::test]
async fn who_takes_over_a_name_sees_and_ends_nothing_of_those_before() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let of = |name: &str, seconds| SessionBegin { person: person("zoe"), ..begin(name, seconds) };
    for session in [of("before", 0), of("since", 20)] {
        bed.store.begin_session(&session).await.unwrap();
    }
    let seen = async || {
        let text = bed.get("alice", "/api/v1/sessions").await.text;
        ["before", "since"].map(|id| text.contains(&format!("\"id\":\"{id}\"")))
    };
    let end = async |id: &str| bed.api("alice", Method::POST, &format!("/sessions/{id}/end"), &json!({})).await.status;
    assert_eq!(seen().await, [true, true]);
    made(&bed, NOW.plus_seconds(10)).await;
    eventually("the new namespace", async || (seen().await == [false, true]).then_some(())).await;
    assert_eq!((end("before").await.as_u16(), end("since").await.as_u16()), (404, 202));
    // Where nobody knows, there is nothing to see.
    made(&bed, Time(0)).await;
    eventually("the namespace of an old picture", async || (seen().await == [false, false]).then_some(())).await;
    assert_eq!(end("since").await, 404);
}

#[tokio::test]
async fn a_card_shows_no_session_of_a_notebook_that_had_its_name_before() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    bed.store.begin_session(&begin("a", 0)).await.unwrap();
    let last = async || {
        let answer = bed.get("alice", "/api/v1/notebooks/team-a/bert").await;
        serde_json::from_str::<serde_json::Value>(&answer.text).unwrap()["last_session_ms"].clone()
    };
    eventually("its session", async || (last().await == NOW.0).then_some(())).await;
    let mut notebook = crate::gateway_bed::running("bert");
    notebook.shown.created = NOW.plus_seconds(1);
    bed.fact(Fact::Notebook(id("team-a", "bert"), Some(notebook))).await;
    eventually("no session", async || last().await.is_null().then_some(())).await;
}

#[tokio::test]
async fn a_file_that_is_not_all_says_so() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let records: Vec<Record> = (0..10_000).map(|number| Record::Begin(begin(&number.to_string(), number))).collect();
    for batch in records.chunks(1000) {
        bed.store.write_records(batch).await.unwrap();
    }
    let whole = bed.get("alice", "/sessions.csv").await.text;
    assert!(whole.lines().count() == 10_001 && !whole.contains("truncated"));
    bed.store.begin_session(&begin("one-more", 20_000)).await.unwrap();
    let cut = bed.get("alice", "/sessions.csv").await.text;
    assert!(cut.lines().count() == 10_002 && cut.ends_with("\r\ntruncated\r\n"));
}

#[tokio::test]
async fn a_loop_of_searches_is_told_to_wait_and_others_are_answered() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let records: Vec<Record> = (0..10_000).map(|number| Record::Begin(begin(&number.to_string(), number))).collect();
    for batch in records.chunks(1000) {
        bed.store.write_records(batch).await.unwrap();
    }
    let flood = futures::future::join_all((0..50).map(|_| bed.get("alice", "/sessions?text=nothing-like-it")));
    let other = bed.get("bob", "/api/v1/sessions");
    let (answers, other) = futures::join!(flood, other);
    assert_eq!(other.status, 200);
    let busy = answers.iter().filter(|answer| answer.status == 503 && answer.text.contains("not done yet")).count();
    let answered = answers.iter().filter(|answer| answer.status == 200).count();
    assert!(busy > 20 && answered >= 2 && busy + answered == 50, "{busy} busy, {answered} answered");
}
