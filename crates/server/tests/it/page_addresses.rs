//! Addresses and ids as nobody's browser sends them.

use axum::body::Body;
use axum::http::{Method, StatusCode};

use crate::databases::{Database, on_both};
use crate::page_bed::{PageBed, SECRET, say};

/// A `GET` of this target, as the ingress would pass it on for alice.
async fn get(bed: &PageBed, target: &str) -> String {
    let who = format!("host: x\r\nx-fairlead-ingress: {SECRET}\r\nkubeflow-userid: alice@example.com\r\n");
    say(bed, &format!("GET {target} HTTP/1.1\r\n{who}connection: close\r\n\r\n")).await
}

#[tokio::test]
async fn what_is_no_address_is_not_found_and_leads_nowhere() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    for target in [
        "/fairlead/static/x/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/fairlead/static/x/../../../../etc/passwd",
        "/fairlead/static/../../etc/passwd",
        "/fairlead/static/x/%2e%2e",
        "/fairlead/static/x/icon.svg%00",
        "/fairlead/static/x/./icon.svg",
        "/fairlead//evil.example.com/",
        "/fairlead/%2f%2fevil.example.com",
        "/fairlead/\\evil.example.com",
        "//evil.example.com/fairlead/",
        "/fairleadhttp://evil.example.com/",
        "/fairleadevil.example.com",
        "/fairlead*",
        "/fairlead@evil.example.com/",
        "/fairlead/notebooks/team-a%2fbert/x",
        "/fairlead/notebooks/team-a/bert%2f..%2f..",
        "/fairlead/notebooks/team-a/bert%00",
        "/fairlead/notebooks/team-a%0d%0aset-cookie:%20a=b/bert",
        "/fairlead/notebooks/TEAM-A/bert",
        "/fairlead/notebooks/team-a/bert/",
        "/fairlead/notebooks/team-a/./bert",
        "/fairlead/api/v1/notebooks/team-a/%00",
        "/fairlead/api/v1/nothing",
        "/fairlead/api/",
        "/",
        "*",
    ] {
        let answer = get(&bed, target).await;
        assert!(["400", "404", "405"].contains(&&answer[9..12]), "{target}: {answer}");
        let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
        assert!(!head.contains("location:") && !head.contains("set-cookie: a=b"), "{target}: {answer}");
        assert!(!answer.contains("root:") && !answer.contains("bert:v1"), "{target}: {answer}");
    }
    for (target, leads) in [
        ("/fairlead", "/fairlead/"),
        ("/fairlead?ns=team-a", "/fairlead/?ns=team-a"),
        ("/fairlead?//evil.example.com", "/fairlead/?//evil.example.com"),
    ] {
        let answer = get(&bed, target).await.to_lowercase();
        assert!(answer.contains(&format!("location: {leads}\r\n")), "{answer}");
    }
    // Another version's file is never kept as this one's.
    let other = bed.get("alice", "/static/000000000000/fairlead.js").await;
    assert_eq!((other.status.as_u16(), &other.headers["cache-control"]), (404, &"no-store".parse().unwrap()));
    let absolute = get(&bed, "http://evil.example.com/fairlead/api/v1/me").await;
    assert!(absolute.starts_with("HTTP/1.1 200") && !absolute.contains("evil"), "{absolute}");
}

#[test]
fn ids_and_cursors_that_are_garbage_are_refused_alike_on_both_databases() {
    async fn story(database: Database) {
        let bed = PageBed::start(database.open().await, &[]).await;
        let text = "x".repeat(201);
        for (path, code) in [
            ("/sessions?before=-1-0a", "bad-form"),
            ("/sessions?before=99999999999999999999-0a", "bad-form"),
            ("/sessions?before=9223372036854775807-%00", "bad-form"),
            ("/sessions?before=1-%27%20or%201=1--", "bad-form"),
            ("/sessions?before=1", "bad-form"),
            ("/sessions?before=%FF", "bad-form"),
            ("/sessions?live=2", "bad-form"),
            ("/sessions?text=a&text=b", "bad-form"),
            (&format!("/sessions?text={text}"), "bad-form"),
            ("/keys/SHA256%3A%00", ""),
            ("/admin/keys/%00/SHA256%3Ax", ""),
        ] {
            let answer = bed.get("alice", &format!("/api/v1{path}")).await;
            let code = if code.is_empty() { "method" } else { code };
            assert!(answer.text.contains(&format!("\"code\":\"{code}\"")), "{path}: {answer:?}");
        }
        for path in [
            "/sessions?text=%00",
            "/sessions?text=%25_!",
            "/sessions?text=%F0%9F%92%A9",
            "/sessions?before=9223372036854775807-0a",
        ] {
            let answer = bed.get("alice", &format!("/api/v1{path}")).await;
            assert_eq!(
                (answer.status, answer.text.as_str()),
                (StatusCode::OK, "{\"sessions\":[],\"next\":null}"),
                "{path}"
            );
        }
        for (method, path) in [
            (Method::POST, "/sessions/%00/end"),
            (Method::POST, "/sessions/..%2f..%2f/end"),
            (Method::DELETE, "/keys/SHA256%3A%00"),
            (Method::DELETE, "/keys/%27%20or%20%27%27%3D%27"),
            (Method::DELETE, "/admin/keys/%00/%00"),
            (Method::POST, "/notebooks/team-a/%00/stop"),
            (Method::POST, "/notebooks/team-a/bert/%00"),
        ] {
            for who in ["alice", "root"] {
                let answer = bed.api(who, method.clone(), path, &serde_json::json!({})).await;
                assert!(answer.text.contains("\"code\":\"not-found\""), "{who} {path}: {answer:?}");
            }
        }
    }
    on_both(story);
}

#[tokio::test]
async fn nothing_said_gets_into_a_header() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let split = "%0d%0aset-cookie:%20a=b%0d%0a%0d%0a";
    for (path, hx) in [
        (format!("/notebooks/restart?ns={split}"), false),
        (format!("/notebooks/restart?ns={split}"), true),
        ("/notebooks/restart?ns=//evil.example.com".to_owned(), false),
        ("/notebooks/restart?ns=team-a%26x=%0a".to_owned(), true),
        (format!("/notebooks/team-a/bert{split}/stop"), false),
        (format!("/admin/namespaces/team-a{split}/off"), false),
    ] {
        let mut request = bed.request("root", Method::POST, &path);
        if hx {
            request = request.header("hx-request", "true");
        }
        let answer = bed.send(request.body(Body::empty()).unwrap()).await;
        for (name, value) in &answer.headers {
            let value = value.to_str().unwrap();
            assert!(!value.contains("a=b") && !value.contains("//evil"), "{path}: {name}: {value}");
        }
        let to = answer.headers.get("location").map_or("/fairlead/", |to| to.to_str().unwrap());
        assert!(to.starts_with("/fairlead/"), "{path}: {to}");
    }
}
