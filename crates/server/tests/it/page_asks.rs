//! What the page says of what the operator says.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use axum::http::Method;
use fairlead_server::clock::now;
use fairlead_server::store::asks::AskKind;
use serde_json::json;

use crate::databases::Database;
use crate::gateway_bed::{eventually, id, person};
use crate::page_bed::{Answer, PageBed};

/// alice asks for a start, and an operator says this, one after the other.
async fn told(bed: &PageBed, outcomes: &[&str]) -> Answer {
    let operator = async {
        for outcome in outcomes {
            let open = async || bed.store.open_asks(now()).await.unwrap().pop();
            let ask = eventually("an ask", open).await;
            bed.store.answer(&ask.id, outcome, now()).await.unwrap();
        }
    };
    let start = json!({});
    let asking = bed.api("alice", Method::POST, "/notebooks/team-a/grover/start", &start);
    futures::join!(asking, operator).0
}

#[tokio::test]
async fn what_the_operator_refuses_is_no_outage() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    for (outcomes, status, text) in [
        (&["done"][..], 200, "true"),
        (&["expired"], 200, "false"),
        (&["superseded"], 200, "false"),
        (&["denied: viewer", "denied: viewer"], 403, "viewer"),
        (&["denied: stranger", "denied: stranger"], 404, "not-found"),
        (&["denied: no-notebook", "denied: no-notebook"], 404, "not-found"),
        // The first was another's, who asked for the same before.
        (&["denied: viewer", "done"], 200, "true"),
        (&["error: no answer"], 503, "broken"),
    ] {
        let answer = told(&bed, outcomes).await;
        assert!(answer.status == status && answer.text.contains(text), "{outcomes:?}: {answer:?}");
    }
}

#[tokio::test]
async fn who_asks_for_much_at_once_is_told_to_wait() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    for number in 0..40 {
        let notebook = id("team-a", &format!("n{number}"));
        bed.store.ask(AskKind::Stop, &notebook, &person("alice"), now()).await.unwrap();
    }
    let answer = bed.api("alice", Method::POST, "/notebooks/team-a/grover/start", &json!({})).await;
    assert!(answer.status == 429 && answer.text.contains("\"asks\""), "{answer:?}");
    let answer = bed.post("alice", "/notebooks/team-a/bert/restart", &[]).await;
    assert!(answer.status == 429 && answer.text.contains("not done yet"), "{answer:?}");
}
