//! Whom the page believes: one user header, beside the ingress's own secret, and nobody by anything else.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request};
use serde_json::Value;

use crate::databases::Database;
use crate::page_bed::{PageBed, SECRET, raw, say};

const PROOF: &str = "x-fairlead-ingress";
const USER: &str = "kubeflow-userid";

/// Who the page says asks with these headers, or the word of its refusal.
async fn me(bed: &PageBed, headers: &[(&str, &[u8])]) -> String {
    let url = format!("http://{}/fairlead/api/v1/me", bed.address);
    let mut request = Request::builder().method(Method::GET).uri(url).body(Body::empty()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.to_lowercase().as_bytes()).unwrap();
        request.headers_mut().append(name, HeaderValue::from_bytes(value).unwrap());
    }
    let answer = bed.send(request).await;
    let json: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{answer:?}"));
    json["person"].as_str().or(json["error"]["code"].as_str()).unwrap().to_owned()
}

#[tokio::test]
async fn only_one_name_beside_the_one_secret_counts() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let (secret, alice) = (SECRET.as_bytes(), b"alice@example.com".as_slice());
    let longer = format!("{SECRET}0");
    let long = "a".repeat(500);
    let mut wrong = Vec::new();
    for (what, headers, said) in [
        ("as the ingress does", vec![(PROOF, secret), (USER, alice)], "alice@example.com"),
        ("two names", vec![(PROOF, secret), (USER, alice), (USER, b"root@example.com")], "no-person"),
        ("one name twice", vec![(PROOF, secret), (USER, alice), (USER, alice)], "no-person"),
        ("no name", vec![(PROOF, secret)], "no-person"),
        ("another header", vec![(PROOF, secret), ("x-forwarded-user", alice)], "no-person"),
        ("an empty name", vec![(PROOF, secret), (USER, b"")], "no-person"),
        ("a name with a space", vec![(PROOF, secret), (USER, b"alice@example.com bob")], "no-person"),
        ("a name with a tab", vec![(PROOF, secret), (USER, b"alice\t@example.com")], "no-person"),
        ("a name that is no text", vec![(PROOF, secret), (USER, b"\xff\xfe@example.com")], "no-person"),
        ("a control character of Unicode", vec![(PROOF, secret), (USER, "a\u{85}b@x".as_bytes())], "no-person"),
        ("a name that reads backwards", vec![(PROOF, secret), (USER, "a\u{202e}b@x".as_bytes())], "no-person"),
        ("500 characters", vec![(PROOF, secret), (USER, long.as_bytes())], "no-person"),
        ("another case is another person", vec![(PROOF, secret), (USER, b"Root@example.com")], "Root@example.com"),
        ("two names in one", vec![(PROOF, secret), (USER, b"alice@example.com,b@x")], "alice@example.com,b@x"),
        ("no secret", vec![(USER, alice)], "not-ingress"),
        ("an empty secret", vec![(PROOF, b""), (USER, alice)], "not-ingress"),
        ("another secret", vec![(PROOF, b"ffffffffffffffffffffffffffffffff"), (USER, alice)], "not-ingress"),
        ("a part of it", vec![(PROOF, &secret[..31]), (USER, alice)], "not-ingress"),
        ("more than it", vec![(PROOF, longer.as_bytes()), (USER, alice)], "not-ingress"),
        ("twice", vec![(PROOF, secret), (PROOF, secret), (USER, alice)], "not-ingress"),
        ("right and wrong", vec![(PROOF, b"wrong"), (PROOF, secret), (USER, alice)], "not-ingress"),
        ("in upper case", vec![(PROOF, SECRET.to_uppercase().as_bytes()), (USER, alice)], "not-ingress"),
    ] {
        let answer = me(&bed, &headers).await;
        if answer != said {
            wrong.push((what, answer));
        }
    }
    assert_eq!(wrong, vec![]);
    assert!(raw(&bed, "KubeFlow-UserID:   alice@example.com  \r\n", "").await.contains("\"alice@example.com\""));
    assert!(raw(&bed, "kubeflow-userid: al\0ice@example.com\r\n", "").await.starts_with("HTTP/1.1 400"));
    let folded = raw(&bed, "kubeflow-userid: alice@example.com\r\n x-fairlead: 1\r\n", "").await;
    assert!(!folded.starts_with("HTTP/1.1 200"), "{folded}");
}

#[tokio::test]
async fn a_name_has_the_prefix_that_the_settings_say() {
    let database = Database::sqlite();
    let flags = ["--page-user-prefix", "accounts.google.com:", "--page-user-header", "X-Goog-Authenticated-User-Email"];
    let bed = PageBed::start_unseen(database.open().await, &flags).await;
    let header = "x-goog-authenticated-user-email";
    let secret = SECRET.as_bytes();
    for (headers, said) in [
        (vec![(PROOF, secret), (header, b"accounts.google.com:alice@example.com".as_slice())], "alice@example.com"),
        (vec![(PROOF, secret), (header, b"alice@example.com")], "no-person"),
        (vec![(PROOF, secret), (header, b"accounts.google.com:")], "no-person"),
        (vec![(PROOF, secret), (header, b"Accounts.google.com:alice@example.com")], "no-person"),
        (vec![(PROOF, secret), (header, b"evil.accounts.google.com:alice@example.com")], "no-person"),
        (vec![(PROOF, secret), (USER, b"accounts.google.com:alice@example.com")], "no-person"),
    ] {
        assert_eq!(me(&bed, &headers).await, said);
    }
}

#[tokio::test]
async fn the_demo_answers_to_names_of_this_machine_alone() {
    let database = Database::sqlite();
    let bed = PageBed::start_unseen(database.open().await, &["--page-demo"]).await;
    let cookie = "cookie: fairlead-demo-person=alice@example.com\r\n";
    for (hosts, said) in [
        ("host: localhost:8080\r\n", "\"person\":\"alice@example.com\""),
        ("host: 127.0.0.1\r\n", "\"person\":\"alice@example.com\""),
        ("host: [::1]:8080\r\n", "\"person\":\"alice@example.com\""),
        ("host: evil.example.com\r\n", "not-ingress"),
        ("host: localhost.example.com\r\n", "not-ingress"),
        ("host: 127.0.0.1.example.com\r\n", "not-ingress"),
        ("host: localhost@example.com\r\n", "not-ingress"),
        ("host: localhost\r\nhost: evil.example.com\r\n", ""),
        ("", "not-ingress"),
    ] {
        let head = format!("GET /fairlead/api/v1/me HTTP/1.1\r\n{hosts}{cookie}connection: close\r\n\r\n");
        let answer = say(&bed, &head).await;
        assert!(answer.contains(said) && (said.starts_with('"') || !answer.contains(" 200 ")), "{hosts}: {answer}");
    }
}
