//! Posts that another site makes in a visitor's name, and reads that would change something.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use fairlead_server::clock::now;
use fairlead_server::page;

use crate::databases::Database;
use crate::page_bed::{PageBed, SECRET};
use crate::rows::{key, person};

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const OTHER: &str = "ffeeddccbbaa99887766554433221100";

/// A post of the ingress's with these headers besides, and this form.
fn post(bed: &PageBed, headers: &[(&str, &str)], form: &str) -> Request<Body> {
    let url = format!("http://{}/fairlead/notebooks/team-a/bert/restart", bed.address);
    let mut request = Request::builder().method(Method::POST).uri(url);
    for (name, value) in
        [("x-fairlead-ingress", SECRET), ("kubeflow-userid", "alice@example.com")].iter().chain(headers)
    {
        request = request.header(*name, *value);
    }
    request.body(form.to_owned().into()).unwrap()
}

#[tokio::test]
async fn what_changes_something_says_the_visitors_own_token_again() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let cookie = &format!("XSRF-TOKEN={TOKEN}");
    let two = &format!("XSRF-TOKEN={TOKEN}; XSRF-TOKEN={OTHER}");
    let same_twice = &format!("XSRF-TOKEN={TOKEN}; XSRF-TOKEN={TOKEN}");
    let (kind, form) = (("content-type", "application/x-www-form-urlencoded"), &format!("_csrf={TOKEN}"));
    let host = &format!("http://{}", bed.address);
    let good = [("cookie", cookie.as_str()), ("x-xsrf-token", TOKEN)];
    let and = |header: (&'static str, &'static str)| [good.as_slice(), &[header]].concat();
    let mut wrong = Vec::new();
    for (what, headers, form, taken) in [
        ("cookie and header", good.to_vec(), "", true),
        ("cookie and field", vec![("cookie", cookie), kind], form.as_str(), true),
        ("no token", vec![], "", false),
        ("cookie alone", vec![("cookie", cookie)], "", false),
        ("cookie and an empty form", vec![("cookie", cookie), kind], "", false),
        ("header alone", vec![("x-xsrf-token", TOKEN)], "", false),
        ("field alone", vec![kind], form, false),
        ("another token", vec![("cookie", cookie), ("x-xsrf-token", OTHER)], "", false),
        (
            "a wrong header, though the field is right",
            vec![("cookie", cookie), ("x-xsrf-token", OTHER), kind],
            form,
            false,
        ),
        ("a field of another kind", vec![("cookie", cookie), ("content-type", "text/plain")], form, false),
        ("cookie twice", vec![("cookie", two), ("x-xsrf-token", TOKEN)], "", false),
        ("the same cookie twice", vec![("cookie", same_twice), ("x-xsrf-token", TOKEN)], "", false),
        ("in two lines", vec![("cookie", cookie), ("cookie", cookie), ("x-xsrf-token", TOKEN)], "", false),
        ("both empty", vec![("cookie", "XSRF-TOKEN="), ("x-xsrf-token", "")], "", false),
        ("no token of ours", vec![("cookie", "XSRF-TOKEN=x"), ("x-xsrf-token", "x")], "", false),
        ("another site", and(("sec-fetch-site", "cross-site")), "", false),
        ("a neighbour", and(("sec-fetch-site", "same-site")), "", false),
        ("this very page", and(("sec-fetch-site", "same-origin")), "", true),
        ("a foreign origin", and(("origin", "https://evil.example.com")), "", false),
        ("no origin at all", and(("origin", "null")), "", false),
        ("the own origin", [good.as_slice(), &[("origin", host.as_str())]].concat(), "", true),
    ] {
        let answer = bed.send(post(&bed, &headers, form)).await;
        let expected = if taken { StatusCode::SEE_OTHER } else { StatusCode::FORBIDDEN };
        if answer.status != expected {
            wrong.push((what, answer.status));
        }
    }
    assert_eq!(wrong, vec![]);
}

#[tokio::test]
async fn reading_changes_nothing() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    store.add_key(&person("alice"), &key(1), "laptop", now()).await.unwrap();
    let before = (store.list_keys(None, now()).await.unwrap(), store.list_switches().await.unwrap());
    let fingerprint = crate::page_bed::escaped(key(1).fingerprint().as_str());
    for route in page::routes().iter().filter(|route| route.path != "/events") {
        let path = route.path.replace("{namespace}/{name}", "team-a/bert").replace("{verb}", "stop");
        let path =
            path.replace("{namespace}", "team-a").replace("{switch}", "off").replace("{fingerprint}", &fingerprint);
        let path = path.replace("{person}", "alice%40example.com").replace("{id}", "0a");
        let query = format!("{path}?fingerprint={fingerprint}&key={fingerprint}&person=alice%40example.com&ns=team-a");
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            for who in ["alice", "root"] {
                let request = bed.request(who, method.clone(), &query).header("x-http-method-override", "DELETE");
                bed.send(request.body(Body::empty()).unwrap()).await;
            }
        }
    }
    let after = (store.list_keys(None, now()).await.unwrap(), store.list_switches().await.unwrap());
    assert_eq!(before, after);
    assert_eq!(store.open_asks(now()).await.unwrap(), vec![], "nobody asked for anything");
}

#[tokio::test]
async fn the_first_answer_gives_a_token_that_no_script_elsewhere_can_read() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let mut request = bed.request("alice", Method::GET, "/");
    request.headers_mut().unwrap().remove("cookie");
    let answer = bed.send(request.body(Body::empty()).unwrap()).await;
    let set = answer.headers["set-cookie"].to_str().unwrap();
    assert!(set.starts_with("XSRF-TOKEN=") && set.ends_with("; Path=/fairlead/; SameSite=Strict; Secure"), "{set}");
    assert!(!bed.get("alice", "/").await.headers.contains_key("set-cookie"), "who has one keeps it");
}
