//! What strangers wrote, wherever the page shows it: escaped, in every form that it comes in.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use axum::body::Body;
use axum::http::Method;
use fairlead_model::world::{Member, Shown};
use fairlead_model::{Fact, Person, Role, Time};
use fairlead_server::clock::now;
use fairlead_server::store::sessions::{SessionBegin, SessionEnd};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::databases::Database;
use crate::gateway_bed::{eventually, id, label, running};
use crate::page_bed::{PageBed, escaped};
use crate::rows::{begin, end, key, person};

/// Ends a tag, an attribute of either kind and a script; reads backwards; and is a formula.
const EVIL: &str = "=<script>alert(1)</script><img/src=x\"onerror='alert(2)'>{{7*7}}&lt;\u{202e}gnp.exe\u{2066}";
/// The same without what a user id cannot have.
const EVIL_PERSON: &str = "<script>alert(1)</script><img/src=x\"onerror='alert(2)'>@example.com";

/// Everything that strangers can name, named [`EVIL`].
async fn populate(bed: &PageBed) {
    let evil = Person::parse(EVIL_PERSON).unwrap();
    let member = Member { person: evil.clone(), role: Role::Edit };
    bed.fact(Fact::Member(label("team-a"), "evil".to_owned(), Some(member))).await;
    bed.store.add_key(&evil, &key(7), EVIL, now()).await.unwrap();
    bed.store.add_key(&person("alice"), &key(1), EVIL, now()).await.unwrap();
    let session = |id: &str| SessionBegin {
        person: evil.clone(),
        from: EVIL.to_owned(),
        client: EVIL.to_owned(),
        way: EVIL.to_owned(),
        ..begin(id, 0)
    };
    bed.store.begin_session(&session("0a")).await.unwrap();
    bed.store.end_session(&SessionEnd { reason: EVIL.to_owned(), ..end("0a", 9, "") }).await.unwrap();
    bed.store.begin_session(&session("0b")).await.unwrap();
    name_bert(bed, EVIL).await;
    eventually("the image", async || bed.get("alice", "/").await.text.contains("onerror").then_some(())).await;
}

async fn name_bert(bed: &PageBed, text: &str) {
    let mut notebook = running("bert");
    let [image, cpu, memory] = [0; 3].map(|_| text.to_owned());
    notebook.shown = Shown { image, cpu, memory, gpus: 1, created: Time(1) };
    bed.fact(Fact::Notebook(id("team-a", "bert"), Some(notebook))).await;
}

/// Whether it stands there as text and not as what it would be.
fn assert_harmless(what: &str, html: &str) {
    for bad in ["<script>alert", "<img/src", "\"onerror", "x'onerror", "49", "\u{202e}", "\u{2066}"] {
        // The number is what a template in a template would make.
        let found = if bad == "49" { html.contains("{{") && html.contains(">49") } else { html.contains(bad) };
        assert!(!found, "{what} has `{bad}`: {html}");
    }
}

#[tokio::test]
async fn what_strangers_wrote_is_shown_and_does_nothing() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    populate(&bed).await;
    let query = escaped(EVIL);
    for (path, has_it) in [
        ("/".to_owned(), true),
        ("/notebooks/team-a/bert".to_owned(), true),
        ("/keys".to_owned(), true),
        ("/sessions".to_owned(), true),
        ("/admin".to_owned(), false),
        ("/admin/people".to_owned(), true),
        ("/admin/keys".to_owned(), true),
        (format!("/?ns={query}"), true),
        (format!("/?ns={query}&lang=zh-CN&{query}={query}"), true),
        (format!("/summary?ns={query}"), false),
        (format!("/sessions?text={query}&live={query}"), true),
        (format!("/sessions?before={query}"), false),
        (format!("/setup?key={query}"), false),
        (format!("/setup/state?key={query}"), false),
        (format!("/admin/keys?text={query}"), true),
        (format!("/admin/people?text={query}"), true),
        (format!("/admin/namespaces?text={query}"), true),
        (format!("/{query}"), false),
        (format!("/notebooks/{query}/{query}"), false),
    ] {
        let who = if path.starts_with("/admin") { "root" } else { "alice" };
        let answer = bed.get(who, &path).await;
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert_harmless(&path, &answer.text.replace(&query, ""));
        assert!(!has_it || answer.text.contains("alert(1)") || answer.text.contains(&query), "{path} does not show it");
    }
    let pasted = bed.post("alice", "/setup", &[("key", EVIL), ("ends", EVIL)]).await;
    assert_harmless("the form that comes back", &pasted.text);
    assert!(pasted.text.contains("alert(1)") && pasted.status == 422, "what was typed stays there: {pasted:?}");
}

#[tokio::test]
async fn json_events_and_csv_carry_it_as_text_too() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    populate(&bed).await;
    for path in ["/notebooks", "/notebooks/team-a/bert", "/keys", "/sessions", "/admin/people", "/admin/keys"] {
        let answer = bed.get("root", &format!("/api/v1{path}")).await;
        let answer =
            if path.starts_with("/admin") { answer } else { bed.get("alice", &format!("/api/v1{path}")).await };
        assert_eq!((&answer.headers["content-type"], &answer.headers["x-content-type-options"]).0, "application/json");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert!(!answer.text.contains('\u{202e}') && answer.text.contains("alert(1)"), "{path}");
        serde_json::from_str::<Value>(&answer.text).unwrap();
    }

    let file = bed.get("root", "/sessions.csv").await;
    assert_eq!(file.headers["content-disposition"], "attachment; filename=\"fairlead-sessions.csv\"");
    let lines: Vec<&str> = file.text.lines().collect();
    assert_eq!(lines.len(), 3, "a session is one line: {}", file.text);
    for cell in lines[1].split("\",\"") {
        let cell = cell.trim_matches('"');
        assert!(!cell.starts_with(['=', '+', '-', '@']), "a spreadsheet would compute `{cell}`");
    }
    assert!(file.text.contains("\"'=<script>alert(1)</script><img/src=x\"\"onerror="), "{}", file.text);

    let stream = bed.stream("alice", "/events?ns=team-a").await;
    let mut body = stream.into_body();
    name_bert(&bed, &format!("v2\r\n\r\nevent: reload\r\ndata: x{EVIL}")).await;
    let mut text = String::new();
    while !text.contains("v2") {
        let frame = tokio::time::timeout(std::time::Duration::from_secs(10), body.frame()).await;
        text += std::str::from_utf8(frame.unwrap().unwrap().unwrap().data_ref().unwrap()).unwrap();
    }
    let events: Vec<&str> = text.lines().filter(|line| line.starts_with("event:")).collect();
    assert!(events.iter().all(|event| *event != "event: reload") || events[0] == "event: reload", "{text}");
    for data in text.lines().filter_map(|line| line.strip_prefix("data: {")) {
        let card: Value = serde_json::from_str(&format!("{{{data}")).unwrap();
        assert_harmless("a card", card["html"].as_str().unwrap());
    }
}

#[tokio::test]
async fn a_cookie_cannot_make_the_page_say_anything() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let done = bed.post("alice", "/notebooks/team-a/bert/restart", &[]).await;
    let set = done.headers.get_all("set-cookie").iter().find(|set| set.as_bytes().starts_with(b"fairlead-said"));
    let cookie = set.unwrap().to_str().unwrap().split(';').next().unwrap().to_owned();
    let (tag, said) = cookie.split_once('.').unwrap();
    let says = async |who: &str, cookie: &str| {
        let request = bed.request(who, Method::GET, "/keys").header("cookie", cookie);
        let text = bed.send(request.body(Body::empty()).unwrap()).await.text;
        text.split("id=\"said\"").nth(1).unwrap().split_once('>').unwrap().1.split("</div>").next().unwrap().to_owned()
    };
    assert!(says("alice", &cookie).await.contains("bert"), "the page's own word is said");
    for forged in [
        "fairlead-said=Your%20key%20was%20stolen".to_owned(),
        format!("{tag}.Your%20key%20was%20stolen"),
        format!("fairlead-said=.{said}"),
        format!("fairlead-said={}.{said}", "0".repeat(64)),
        format!("{}.{said}", &tag[..tag.len() - 2]),
        format!("{cookie}; {cookie}"),
        "fairlead-said=%".to_owned(),
    ] {
        assert_eq!(says("alice", &forged).await, "", "{forged}");
    }
    assert_eq!(says("bob", &cookie).await, "", "it was said to somebody else");
    for garbage in
        ["fairlead-lang=xx", "fairlead-lang=\"><script>", "fairlead-lang=en; fairlead-lang=zh-CN", "fairlead-lang=;;;="]
    {
        let request = bed.request("alice", Method::GET, "/").header("cookie", garbage);
        assert!(bed.send(request.body(Body::empty()).unwrap()).await.text.contains("<html lang=\"en\">"), "{garbage}");
    }
}
