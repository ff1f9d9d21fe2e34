//! Links: what a person can be made to follow acts by nothing, and carries nothing that lets somebody act.

use axum::http::{Method, StatusCode};
use fairlead_server::clock::now;
use serde_json::json;

use crate::databases::Database;
use crate::page_bed::{PageBed, SECRET};
use crate::rows::{key, person};

/// The token against forged posts that [`PageBed`] sends.
const TOKEN: &str = "00112233445566778899aabbccddeeff";
const PAGES: [&str; 9] = [
    "/",
    "/summary",
    "/keys",
    "/setup",
    "/sessions",
    "/notebooks/team-a/bert",
    "/admin",
    "/admin/namespaces",
    "/admin/people",
];

/// Every address that a page names, by these attributes.
fn addresses(html: &str, attributes: &[&str]) -> Vec<String> {
    let of = |attribute: &&str| {
        let marked = format!(" {attribute}=\"");
        let found = html.split(&marked).skip(1).filter_map(|rest| rest.split('"').next());
        found.map(|address| address.replace("&amp;", "&").replace("&#38;", "&")).collect::<Vec<_>>()
    };
    attributes.iter().flat_map(of).collect()
}

#[tokio::test]
async fn following_every_link_of_every_page_changes_nothing_and_no_address_has_a_secret() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    store.add_key(&person("alice"), &key(1), "laptop", now()).await.expect("a key");
    let claim = bed.api("alice", Method::POST, "/keys", &json!({"key": key(2).line()})).await;
    let claim: serde_json::Value = serde_json::from_str(&claim.text).expect("a claim");
    let code = claim["code"].as_str().expect("a code").to_owned();
    let state = async || {
        let keys = store.list_keys(None, now()).await.expect("keys");
        (keys, store.list_switches().await.expect("switches"), store.open_asks(now()).await.expect("asks"))
    };
    let before = state().await;
    let (mut followed, mut editors) = (0, 0);
    for who in ["alice", "root"] {
        for page in PAGES.iter().filter(|page| who == "root" || !page.starts_with("/admin")) {
            let shown = bed.get(who, page).await;
            if shown.status != StatusCode::OK {
                assert!(who == "root" && page.starts_with("/notebooks"), "{who} {page}: {}", shown.status);
                continue;
            }
            // What acts, acts by a post: where a form goes counts as an address, and its method is said.
            let posts = shown.text.matches("<form").count();
            let said = shown.text.matches("method=\"post\"").count() + shown.text.matches("method=\"get\"").count();
            assert_eq!(posts, said, "{page}: a form without a method");
            for address in addresses(&shown.text, &["href", "src", "action", "hx-get", "hx-post", "sse-connect"]) {
                for secret in [TOKEN, SECRET, code.as_str()] {
                    assert!(!address.contains(secret), "{page}: {address}");
                }
                let is_editor = address.contains("bert.team-a.notebook/home") || address.contains("host=bert.team-a");
                editors += usize::from(is_editor);
                // An editor's link names the host and the folder, and nothing that is run there.
                assert!(!is_editor || !address.contains(['\'', ' ', ';', '`', '$', '|']), "{address}");
            }
            for address in addresses(&shown.text, &["href", "hx-get"]) {
                if let Some(path) = address.strip_prefix("/fairlead").filter(|path| !path.starts_with("/events")) {
                    let answer = bed.get(who, path).await;
                    assert!(answer.status.as_u16() < 500, "{path}: {answer:?}");
                    followed += 1;
                }
            }
        }
    }
    assert!(followed > 50 && editors > 5, "{followed} links followed, {editors} of editors");
    assert_eq!(state().await, before);
    // The same things are done by who says the token again.
    let stop = bed.post("alice", "/notebooks/team-a/bert/stop", &[("_csrf", TOKEN)]).await;
    assert_eq!(stop.status, StatusCode::SEE_OTHER);
    let target = stop.headers["location"].to_str().expect("an address");
    assert!(target.starts_with("/fairlead/") && !target.contains(TOKEN), "{target}");
    assert_eq!(store.open_asks(now()).await.expect("asks").len(), 1);
}
