//! More than the page may be asked for: large bodies, slow ones, many keys, many open streams.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{Method, Response, StatusCode};
use fairlead_server::clock::now;

use crate::databases::{Database, on_both};
use crate::gateway_bed::eventually;
use crate::page_bed::{PageBed, SECRET, say};
use crate::rows::{key, person};

#[tokio::test]
async fn more_than_a_body_may_have_is_refused_and_taken_by_nobody() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let large = "x".repeat(1 << 20);
    for (path, field) in [
        ("/setup", "key"),
        ("/setup", "ends"),
        ("/keys/remove", "fingerprint"),
        ("/setup", "_csrf"),
        ("/setup/file", "code"),
    ] {
        let answer = bed.post("alice", path, &[(field, &large)]).await;
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{path} {field}");
        assert!(answer.text.contains("256 KiB") && answer.text.len() < 10_000);
    }
    let lines = (0..10_000).map(|number| format!("{} {number}", key(1).line())).collect::<Vec<_>>();
    let many = bed.post("alice", "/setup", &[("key", &lines.join("\n"))]).await;
    assert_eq!(many.status, StatusCode::PAYLOAD_TOO_LARGE);
    let short = vec!["a line of text"; 10_000].join("\n");
    let many = bed.post("alice", "/setup", &[("key", &short)]).await;
    assert!(many.status == 422 && many.text.contains("this text has 10000 lines"), "{many:?}");
    assert!(many.text.len() < 40_000, "it is not all sent back: {}", many.text.len());
    // One that says no length is counted as it comes.
    let pieces = futures::stream::iter((0..1024).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; 1024]))));
    let request = bed.request("alice", Method::POST, "/api/v1/keys").header("content-type", "application/json");
    let answer = bed.send(request.body(Body::from_stream(pieces)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);

    let search = "y".repeat(200 * 1024);
    let who = format!("x-fairlead-ingress: {SECRET}\r\nkubeflow-userid: alice@example.com\r\n");
    let head = format!("GET /fairlead/sessions?text={search} HTTP/1.1\r\nhost: x\r\n{who}connection: close\r\n\r\n");
    let answer = say(&bed, &head).await;
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"), "{answer:.200}");
    let search = "y".repeat(60_000);
    assert_eq!(bed.get("alice", &format!("/sessions?text={search}")).await.status, 422);
    assert_eq!(bed.get("root", &format!("/admin/keys?text={search}")).await.status, 200);
}

#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let drips = futures::stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        Some((Ok::<_, std::io::Error>(Bytes::from_static(b" ")), ()))
    });
    let request = bed.request("alice", Method::POST, "/api/v1/keys").header("content-type", "application/json");
    let began = Instant::now();
    let sent = bed.send(request.body(Body::from_stream(drips)).unwrap());
    let answer = tokio::time::timeout(Duration::from_secs(30), sent).await.unwrap();
    assert_eq!(answer.status, StatusCode::REQUEST_TIMEOUT, "{answer:?}");
    assert!(answer.text.contains("\"code\":\"slow\"") && began.elapsed() < Duration::from_secs(15));
}

#[test]
fn keys_have_a_limit_that_a_loop_of_posts_meets() {
    async fn story(database: Database) {
        let store = database.open().await;
        let bed = PageBed::start(store.clone(), &[]).await;
        for number in 1..=45 {
            store.claim_key(&person("alice"), &key(number), "", now()).await.unwrap();
        }
        for number in 46..=60 {
            let answer = bed.post("alice", "/setup", &[("key", key(number).line())]).await;
            let taken = number <= 50;
            assert_eq!(answer.status == StatusCode::OK, taken, "key {number}: {answer:?}");
            assert!(taken || answer.text.contains("You have 50 keys"), "{answer:?}");
        }
        assert_eq!(store.list_keys(Some(&person("alice")), now()).await.unwrap().len(), 50);
    }
    on_both(story);
}

#[tokio::test]
async fn a_person_has_twenty_streams_and_gets_a_place_back() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let mut open: Vec<Response<Body>> = Vec::new();
    for _ in 0..20 {
        open.push(bed.stream("alice", "/events").await);
    }
    assert!(open.iter().all(|stream| stream.status() == StatusCode::OK));
    let one_more = bed.stream("alice", "/events").await.status();
    assert_eq!(one_more, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(bed.stream("bob", "/events").await.status(), StatusCode::OK, "others have places of their own");
    let refused = bed.get("alice", "/events").await;
    assert!(refused.text.contains("Too many pages are open"), "{refused:?}");
    open.pop();
    eventually("a place", async || (bed.stream("alice", "/events").await.status() == StatusCode::OK).then_some(()))
        .await;
}
