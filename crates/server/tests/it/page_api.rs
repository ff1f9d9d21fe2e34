//! The JSON API, held against its description: what is served is described, and what comes back is as described.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use boon::{Compiler, Schemas};
use fairlead_server::clock::now;
use fairlead_server::page;
use serde_json::{Value, json};

use crate::databases::{Database, on_both};
use crate::page_bed::{Answer, PageBed, escaped};
use crate::rows::{begin, end, key};

const FILE: &str = include_str!("../../../../docs/openapi.yaml");
const BASE: &str = "https://fairlead.example.com/openapi.json";
const BELOW: &str = "/api/v1";

/// The description, and what has been seen to be as it says.
struct Described {
    file: Value,
    seen: BTreeSet<(String, String)>,
}

impl Described {
    fn read() -> Self {
        Self { file: serde_saphyr::from_str(FILE).unwrap(), seen: BTreeSet::new() }
    }

    /// Every method of every path.
    fn operations(&self) -> BTreeSet<(String, String)> {
        let paths = self.file["paths"].as_object().unwrap();
        let methods = |(path, item): (&String, &Value)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters").cloned();
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(methods).collect()
    }

    /// Holds an answer against what the file says about this operation and status.
    fn check(&mut self, method: &Method, path: &str, answer: &Answer) {
        let responses = &self.file["paths"][path][method.as_str().to_lowercase()]["responses"];
        let status = answer.status.as_str();
        let response = match &responses[status] {
            Value::Null if !answer.status.is_success() => &self.file["components"]["responses"]["Refused"],
            Value::Null => panic!("{method} {path} answers {status}, which is not described: {answer:?}"),
            described => described,
        };
        let schema = response["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_else(|_| panic!("{method} {path}: {answer:?}"));
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource(BASE, self.file.clone()).unwrap();
        let index = compiler.compile(&format!("{BASE}{schema}"), &mut schemas).unwrap();
        let valid = schemas.validate(&body, index);
        assert!(valid.is_ok(), "{method} {path} {status}: {}\n{body:#}", valid.unwrap_err());
        if answer.status.is_success() {
            self.seen.insert((method.to_string(), path.to_owned()));
        }
    }
}

#[test]
fn what_is_served_is_described_and_nothing_else() {
    let routes = page::routes().into_iter();
    let served =
        routes.filter_map(|route| Some((route.method.to_string(), route.path.strip_prefix(BELOW)?.to_owned())));
    assert_eq!(served.collect::<BTreeSet<_>>(), Described::read().operations());
}

#[test]
fn every_answer_is_as_it_is_described() {
    async fn story(database: Database) {
        let store = database.open().await;
        let bed = PageBed::start(store.clone(), &[]).await;
        let mut described = Described::read();
        let [one, two, last] = [1, 2, 7].map(|number| escaped(key(number).fingerprint().as_str()));
        for (who, number) in [("alice", 1), ("alice", 2), ("alice", 7), ("bob", 3)] {
            store.add_key(&crate::rows::person(who), &key(number), "laptop", now()).await.unwrap();
        }
        store.begin_session(&begin("0a", 0)).await.unwrap();
        store.end_session(&end("0a", 5, "closed")).await.unwrap();
        store.begin_session(&begin("0b", 9)).await.unwrap();
        store.beat_parts("one", &["operator"], now()).await.unwrap();

        let (get, post, put, delete) = (&Method::GET, &Method::POST, &Method::PUT, &Method::DELETE);
        let new = json!({"key": key(4).line(), "ends": "2099-12-31"});
        let nothing = json!({});
        let remove = |key: &str| format!("/keys/{key}");
        for (who, method, path, asked, body) in [
            ("alice", get, "/me", "/me", &nothing),
            ("alice", get, "/notebooks", "/notebooks?ns=team-a", &nothing),
            ("carol", get, "/notebooks", "/notebooks", &nothing),
            ("alice", get, "/notebooks/{namespace}/{name}", "/notebooks/team-a/bert", &nothing),
            ("carol", get, "/notebooks/{namespace}/{name}", "/notebooks/team-a/grover", &nothing),
            ("bob", post, "/notebooks/{namespace}/{name}/{verb}", "/notebooks/team-a/bert/restart", &nothing),
            ("bob", post, "/notebooks/{namespace}/{name}/{verb}", "/notebooks/team-a/bert/stop", &nothing),
            ("carol", post, "/notebooks/{namespace}/{name}/{verb}", "/notebooks/team-a/bert/stop", &nothing),
            ("alice", post, "/keys", "/keys", &new),
            ("alice", post, "/keys", "/keys", &json!({"key": "ssh-ed25519 damaged"})),
            ("alice", post, "/keys", "/keys", &json!({"key": key(5).line(), "ends": "yesterday"})),
            ("alice", post, "/keys", "/keys", &json!({"key": key(3).line()})),
            ("alice", get, "/keys", "/keys", &nothing),
            ("alice", get, "/sessions", "/sessions?live=true&text=bert", &nothing),
            ("alice", get, "/sessions", "/sessions", &nothing),
            ("alice", get, "/sessions", "/sessions?live=perhaps", &nothing),
            ("alice", post, "/sessions/{id}/end", "/sessions/0b/end", &nothing),
            ("root", get, "/admin/overview", "/admin/overview", &nothing),
            ("root", put, "/admin/namespaces/{namespace}/ssh", "/admin/namespaces/team-a/ssh", &json!({"on": false})),
            ("root", put, "/admin/namespaces/{namespace}/ssh", "/admin/namespaces/team-a/ssh", &json!({"on": "no"})),
            ("root", get, "/admin/namespaces", "/admin/namespaces?text=team", &nothing),
            ("root", get, "/admin/people", "/admin/people", &nothing),
            ("root", get, "/admin/keys", "/admin/keys", &nothing),
            ("alice", get, "/admin/keys", "/admin/keys", &nothing),
            ("alice", delete, "/keys/{fingerprint}", &remove(&one), &nothing),
            (
                "root",
                delete,
                "/admin/keys/{person}/{fingerprint}",
                &format!("/admin/keys/alice%40example.com/{two}"),
                &nothing,
            ),
            ("alice", delete, "/keys/{fingerprint}", &remove(&last), &nothing),
        ] {
            let answer = bed.api(who, method.clone(), asked, body).await;
            described.check(method, path, &answer);
        }
        assert_eq!(described.seen, described.operations(), "each was seen to do what it is for");
        for (method, path) in described.operations() {
            let method: Method = method.parse().unwrap();
            let mut request = bed.request("alice", method.clone(), &format!("{BELOW}{path}").replace(['{', '}'], ""));
            request.headers_mut().unwrap().remove("x-fairlead-ingress");
            let refused = bed.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(refused.status, StatusCode::FORBIDDEN, "{path}");
            described.check(&method, &path, &refused);
        }
    }
    on_both(story);
}

#[tokio::test]
async fn json_is_said_to_be_json_and_has_no_other_fields() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let body = json!({"key": key(1).line()}).to_string();
    for (kind, body, code) in [
        (Some("application/json"), json!({"key": key(1).line(), "person": "bob@example.com"}).to_string(), "bad-form"),
        (Some("application/json"), "{".to_owned(), "bad-form"),
        (Some("application/json"), "[]".to_owned(), "bad-form"),
        (Some("text/plain"), body.clone(), "bad-form"),
        (Some("application/x-www-form-urlencoded"), body.clone(), "bad-form"),
        (None, body.clone(), "bad-form"),
        (Some("application/json"), "{}".repeat(200_000), "too-large"),
    ] {
        let mut request = bed.request("alice", Method::POST, "/api/v1/keys");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = bed.send(request.body(body.into()).unwrap()).await;
        let said: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(said["error"]["code"], code, "{kind:?} {said}");
    }
    let chinese = bed.request("alice", Method::GET, "/api/v1/nothing").header("accept-language", "zh-CN");
    let chinese = bed.send(chinese.body(Body::empty()).unwrap()).await;
    assert_eq!(chinese.status, StatusCode::NOT_FOUND);
    assert!(chinese.text.contains("\"code\":\"not-found\"") && !chinese.text.is_ascii(), "{}", chinese.text);
    assert!(bed.get("alice", "/api/v1/keys").await.text.contains("\"keys\":[]"), "nothing of it was taken");
}
