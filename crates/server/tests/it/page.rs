//! The page as people get it: what it shows, takes and refuses.

use axum::http::{Method, StatusCode};
use serde_json::json;

use crate::databases::{Database, on_both};
use crate::gateway_bed::eventually;
use crate::page_bed::PageBed;
use crate::rows::key;

#[test]
fn a_person_adds_a_key_and_sees_it_wait_and_count() {
    async fn story(database: Database) {
        let store = database.open().await;
        let bed = PageBed::start(store.clone(), &[]).await;
        let line = key(1).line().to_owned() + " alice@laptop";

        let first = bed.get("alice", "/").await;
        assert!(first.status == StatusCode::OK && first.text.contains("no key of yours counts"), "{first:?}");
        let added = bed.post("alice", "/setup", &[("key", &line)]).await;
        assert_eq!(added.status, StatusCode::OK, "{added:?}");
        let code = added.text.split("confirm fairlead-gateway confirm ").nth(1).unwrap()[..8].to_owned();

        let waits = bed.get("alice", "/keys").await.text;
        assert!(waits.contains("alice@laptop") && waits.contains("Waits for proof"), "{waits}");
        store.confirm_key(&code, key(1).fingerprint(), fairlead_server::clock::now()).await.unwrap();
        let counts = bed.get("alice", "/keys").await.text;
        assert!(counts.contains("Counts") && !counts.contains("Waits for proof"), "{counts}");
    }
    on_both(story);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_is_audited_with_the_address_that_the_ingress_saw() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    let claimed = json!({"key": key(1).line()});
    let request = bed.request("alice", Method::POST, "/api/v1/keys").header("content-type", "application/json");
    // The first is the client's own word.
    let request = request.header("x-forwarded-for", "203.0.113.9, 192.0.2.7").body(claimed.to_string().into()).unwrap();
    assert_eq!(bed.send(request).await.status, StatusCode::CREATED);
    let event = eventually("the event", async || {
        store.list_audit(10).await.unwrap().into_iter().find(|event| event.event == "key-claimed")
    })
    .await;
    assert_eq!((event.person.as_deref(), event.from.as_deref()), (Some("alice@example.com"), Some("192.0.2.7")));
}
