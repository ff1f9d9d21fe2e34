//! Who may do what with whose: every route of the page for every kind of visitor and object, as one table.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use fairlead_model::NotebookId;
use fairlead_server::clock::now;
use fairlead_server::page::{self, Route};
use fairlead_server::store::Store;
use fairlead_server::store::sessions::SessionBegin;
use serde_json::{Value, json};

use crate::databases::Database;
use crate::page_bed::{Answer, PageBed, escaped};
use crate::rows::{begin, key, person};

/// `no-secret` does not come from the ingress; `nobody` does, which names nobody.
const VISITORS: [&str; 8] = ["alice", "bob", "carol", "erin", "dave", "root", "no-secret", "nobody"];
/// Who works in team-a, and who in team-b.
const TEAM_A: [&str; 3] = ["alice", "bob", "carol"];
const TEXTS: &str = include_str!("../../messages/en.yaml");

/// An object that a route is asked about.
#[derive(Debug, Clone)]
struct Object {
    /// What it is, for the table.
    what: &'static str,
    /// What stands for it in addresses and bodies.
    ids: Vec<String>,
    /// Who has anything to do with it; nobody with what does not exist.
    whose: &'static [&'static str],
}

fn object(what: &'static str, ids: &[&str], whose: &'static [&'static str]) -> Object {
    Object { what, ids: ids.iter().map(ToString::to_string).collect(), whose }
}

fn notebooks() -> Vec<Object> {
    vec![
        object("team-a/bert", &["team-a", "bert"], &TEAM_A),
        object("team-b/ernie", &["team-b", "ernie"], &["erin"]),
        object("none in team-a", &["team-a", "ghost"], &TEAM_A),
        object("none in team-b", &["team-b", "ghost"], &["erin"]),
        object("none at all", &["team-z", "ghost"], &[]),
    ]
}

fn namespaces() -> Vec<Object> {
    vec![
        object("team-a", &["team-a"], &TEAM_A),
        object("team-b", &["team-b"], &["erin"]),
        object("none", &["team-z"], &[]),
    ]
}

fn keys() -> Vec<Object> {
    let object = |what, number: u8, whose| object(what, &[key(number).fingerprint().as_str()], whose);
    vec![object("alice's", 1, &["alice"]), object("erin's", 3, &["erin"]), object("none", 99, &[])]
}

fn sessions() -> Vec<Object> {
    vec![
        object("alice's in team-a", &["5e55000a5e55000a5e55000a5e55000a"], &["alice", "root"]),
        object("bob's in team-a", &["5e55000b5e55000b5e55000b5e55000b"], &["alice", "bob", "root"]),
        object("erin's in team-b", &["5e55000e5e55000e5e55000e5e55000e"], &["erin", "root"]),
        object("none", &["5e55000f5e55000f5e55000f5e55000f"], &[]),
    ]
}

/// For admins alone, so that nobody else can tell one from another.
fn for_admins(objects: Vec<Object>) -> Vec<Object> {
    objects
        .into_iter()
        .map(|object| Object { whose: if object.whose.is_empty() { &[] } else { &["root"] }, ..object })
        .collect()
}

fn peoples_keys() -> Vec<Object> {
    let mut objects = keys();
    for (object, who) in objects.iter_mut().zip(["alice", "erin", "alice"]) {
        object.ids.insert(0, format!("{who}@example.com"));
    }
    objects.push(object("alice's, as erin's", &["erin@example.com", key(1).fingerprint().as_str()], &[]));
    for_admins(objects)
}

fn nothing() -> Vec<Object> {
    vec![object("-", &[], &[])]
}

/// A route with its objects: the path of each, and what is sent with it. A route that is not here ends the test.
fn row(route: &Route) -> (Vec<Object>, &'static str, Option<Value>) {
    let path = route.path;
    let new = || Some(json!({"key": key(50).line()}));
    match (route.method.as_str(), path) {
        ("GET", "/" | "/summary" | "/events" | "/api/v1/notebooks") => (namespaces(), "?ns={}", None),
        ("POST", "/notebooks/restart") => (namespaces(), "?ns={}", Some(json!({}))),
        ("GET", "/notebooks/{namespace}/{name}" | "/api/v1/notebooks/{namespace}/{name}") => (notebooks(), "", None),
        ("POST", "/notebooks/{namespace}/{name}/{verb}" | "/api/v1/notebooks/{namespace}/{name}/{verb}") => {
            (notebooks().into_iter().map(|one| one.and("restart")).collect(), "", Some(json!({})))
        }
        ("GET", "/keys" | "/sessions" | "/sessions.csv" | "/api/v1/me" | "/api/v1/keys" | "/api/v1/sessions") => {
            (nothing(), "", None)
        }
        ("POST", "/demo") => (nothing(), "", Some(json!({"person": "alice@example.com"}))),
        ("POST", "/keys/remove") => (keys(), "", Some(json!({"fingerprint": "{0}"}))),
        ("DELETE", "/api/v1/keys/{fingerprint}") => (keys(), "", Some(json!({}))),
        ("GET", "/setup" | "/setup/state") => (keys(), "?key={}", None),
        ("POST", "/setup" | "/api/v1/keys") => (nothing(), "", new()),
        ("POST", "/setup/file") => (keys(), "", Some(json!({"fingerprint": "{0}", "terminal": "shell"}))),
        ("POST", "/sessions/{id}/end" | "/api/v1/sessions/{id}/end") => (sessions(), "", Some(json!({}))),
        ("GET", "/demo" | "/admin" | "/admin/namespaces" | "/admin/people" | "/admin/keys") => (nothing(), "", None),
        ("GET", path) if path.starts_with("/api/v1/admin/") => (nothing(), "", None),
        ("POST", "/admin/namespaces/{namespace}/{switch}") => {
            (for_admins(namespaces()).into_iter().map(|one| one.and("on")).collect(), "", Some(json!({})))
        }
        ("PUT", "/api/v1/admin/namespaces/{namespace}/ssh") => {
            (for_admins(namespaces()), "", Some(json!({"on": true})))
        }
        ("POST", "/admin/keys/remove") => (peoples_keys(), "", Some(json!({"person": "{0}", "fingerprint": "{1}"}))),
        ("DELETE", "/api/v1/admin/keys/{person}/{fingerprint}") => (peoples_keys(), "", Some(json!({}))),
        ("GET", "/static/{version}/{name}") => {
            let version = page::assets_version();
            let known = object("icon.svg", &[version, "icon.svg"], &VISITORS);
            (vec![known, object("none", &[version, "ghost"], &[])], "", None)
        }
        _ => panic!("{route:?} has no row in the table of who may do what: give it one"),
    }
}

impl Object {
    fn and(mut self, id: &str) -> Self {
        self.ids.push(id.to_owned());
        self
    }

    /// The request about it, as the ingress would send it for this visitor.
    fn request(&self, bed: &PageBed, who: &str, route: &Route, query: &str, body: Option<&Value>) -> Request<Body> {
        let mut ids = self.ids.iter();
        let mut path = String::new();
        for piece in format!("{}{query}", route.path).split_inclusive('}') {
            match piece.split_once('{') {
                Some((before, _)) => write!(path, "{before}{}", escaped(ids.next().unwrap())).unwrap(),
                None => path += piece,
            }
        }
        let json = body.map(|body| {
            let mut body = body.clone();
            for value in body.as_object_mut().unwrap().values_mut() {
                if let Some(at) = ["{0}", "{1}"].iter().position(|place| value == place) {
                    *value = json!(self.ids[at]);
                }
            }
            body
        });
        let is_api = route.path.starts_with("/api/");
        let mut request = bed.request(who, route.method.clone(), &path);
        match who {
            "no-secret" => drop(request.headers_mut().unwrap().remove("x-fairlead-ingress")),
            "nobody" => drop(request.headers_mut().unwrap().remove("kubeflow-userid")),
            _ => {}
        }
        let (kind, body) = match json {
            None => return request.body(Body::empty()).unwrap(),
            Some(json) if is_api => ("application/json", json.to_string()),
            Some(form) => {
                ("application/x-www-form-urlencoded", serde_urlencoded::to_string(form.as_object().unwrap()).unwrap())
            }
        };
        request.header("content-type", kind).body(body.into()).unwrap()
    }
}

/// Everything as it was: what a cell of the table changed is put back.
async fn reset(store: &Store) {
    for (who, number) in [("alice", 1), ("alice", 11), ("erin", 3), ("erin", 13)] {
        // It is there, mostly.
        let _ = store.add_key(&person(who), &key(number), "laptop", now()).await;
    }
}

/// The sessions that the table names.
async fn sessions_of_all(store: &Store) {
    for (number, who, space, name) in
        [('a', "alice", "team-a", "bert"), ('b', "bob", "team-a", "bert"), ('e', "erin", "team-b", "ernie")]
    {
        let notebook = NotebookId::parse(space, name).unwrap();
        let id = format!("5e55000{number}").repeat(4);
        store.begin_session(&SessionBegin { person: person(who), notebook, ..begin(&id, 0) }).await.unwrap();
    }
}

/// The sentences of pages that refuse, by word.
fn refusals() -> BTreeMap<String, String> {
    let texts: BTreeMap<String, String> = serde_saphyr::from_str(TEXTS).unwrap();
    let refusals = texts.into_iter().filter_map(|(key, text)| Some((key.strip_prefix("refused.")?.to_owned(), text)));
    // On each of these pages.
    refusals.filter(|(word, _)| word != "title" && word != "back").collect()
}

/// The status, and the word of the refusal: pages say it as a sentence.
fn outcome(answer: &Answer, texts: &BTreeMap<String, String>) -> String {
    let status = answer.status.as_str().to_owned();
    if answer.status.is_success() || answer.status.is_redirection() {
        return status;
    }
    let json: Option<Value> = serde_json::from_str(&answer.text).ok();
    let said = json.and_then(|json| Some(json["error"]["code"].as_str()?.to_owned()));
    let code = |text: &str| text.replace("<code class=\"inline\">", "`").replace("</code>", "`");
    let plain = code(&answer.text.replace("&#39;", "'"));
    let shown = || texts.iter().find(|(_, text)| plain.contains(*text)).map(|(word, _)| word.clone());
    let word = said.or_else(shown).unwrap_or_else(|| panic!("{answer:?}"));
    format!("{status} {word}")
}

/// What an answer gives away: all of it, but the time, and the id that was asked for.
fn given_away(answer: &Answer, object: &Object) -> (StatusCode, String) {
    let mut headers = answer.headers.clone();
    headers.remove("date");
    // It says the length of the id, where that is said again.
    headers.remove("content-length");
    let mut text = format!("{headers:#?}\n{}", answer.text);
    for id in &object.ids {
        for id in [id.clone(), escaped(id), id.replace('/', "%2F").replace('+', "%2B")] {
            text = text.replace(&id, "ID");
        }
    }
    (answer.status, text)
}

#[tokio::test]
async fn the_table_of_who_may_do_what_with_whose() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    sessions_of_all(&store).await;
    let texts = refusals();
    let mut table = String::new();
    for route in page::routes() {
        let (objects, query, body) = row(&route);
        writeln!(table, "{} {}", route.method, route.path).unwrap();
        assert!(body.is_some() == (route.method != Method::GET), "{route:?}: who only reads sends nothing");
        let mut answers: BTreeMap<&str, Vec<(Object, Answer)>> = BTreeMap::new();
        for object in objects {
            let mut outcomes: Vec<(String, Vec<&str>)> = Vec::new();
            for who in VISITORS {
                reset(&store).await;
                let request = object.request(&bed, who, &route, query, body.as_ref());
                let answer = bed.send_head(request).await;
                let outcome = outcome(&answer, &texts);
                match outcomes.iter_mut().find(|(other, _)| *other == outcome) {
                    Some((_, people)) => people.push(who),
                    None => outcomes.push((outcome, vec![who])),
                }
                if !object.ids.is_empty() && !object.whose.contains(&who) {
                    answers.entry(who).or_default().push((object.clone(), answer));
                }
            }
            let outcomes: Vec<String> =
                outcomes.iter().map(|(what, who)| format!("{what}: {}", who.join(" "))).collect();
            writeln!(table, "    {:18} {}", object.what, outcomes.join(" | ")).unwrap();
        }
        for (who, alike) in answers {
            let (first, one) = &alike[0];
            for (object, other) in &alike[1..] {
                let (a, b) = (given_away(one, first), given_away(other, object));
                assert_eq!(a, b, "{who} can tell `{}` from `{}` by {route:?}", first.what, object.what);
            }
        }
    }
    insta::assert_snapshot!(table);
}
