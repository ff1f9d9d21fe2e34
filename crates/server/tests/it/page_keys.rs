//! What a script of a notebook can do with keys, which is whoever looks at the page: and where it ends.

use axum::http::{Method, StatusCode};
use fairlead_server::clock::now;
use fairlead_server::store::keys::{Confirmed, Needs};
use serde_json::{Value, json};

use crate::databases::{Database, on_both};
use crate::page_bed::{PageBed, escaped};
use crate::rows::{key, person};

/// At a host name of its own.
const OWN_HOST: [&str; 2] = ["--page-host", "127.0.0.1"];

#[test]
fn nobody_becomes_a_person_without_keys_again_by_way_of_an_admins_page() {
    async fn story(database: Database) {
        let store = database.open().await;
        let bed = PageBed::start(store.clone(), &[]).await;
        let (alice, then) = (person("alice"), now().plus_seconds(-60));
        store.add_key(&alice, &key(1), "", now()).await.unwrap();
        store.add_key(&person("root"), &key(2), "", now()).await.unwrap();
        // Over: it keeps the other one from being the last no more than it counts.
        store.add_key_until(&alice, &key(3), "", Some(now()), then).await.unwrap();
        let (hers, own) = (key(1).fingerprint().to_string(), key(2).fingerprint().to_string());
        let person_of_hers = [("person", "alice@example.com"), ("fingerprint", hers.as_str())];
        let below = |at: &str, key: &str| format!("{at}/{}", escaped(key));
        for answer in [
            bed.post("root", "/admin/keys/remove", &person_of_hers).await,
            bed.api("root", Method::DELETE, &below("/admin/keys/alice%40example.com", &hers), &json!({})).await,
            bed.post("root", "/keys/remove", &[("fingerprint", &own)]).await,
            bed.api("root", Method::DELETE, &below("/keys", &own), &json!({})).await,
            bed.post("alice", "/keys/remove", &[("fingerprint", &hers)]).await,
        ] {
            assert_eq!(answer.status, StatusCode::CONFLICT, "{answer:?}");
            assert!(answer.text.contains("last-key") || answer.text.contains("the last key that counts"), "{answer:?}");
        }
        let over = key(3).fingerprint().to_string();
        assert_eq!(bed.post("alice", "/keys/remove", &[("fingerprint", &over)]).await.status, StatusCode::SEE_OTHER);

        // An admin at the command line removes it: what is claimed then is no first key.
        store.remove_key(&alice, key(1).fingerprint()).await.unwrap();
        let claim = bed.api("alice", Method::POST, "/keys", &json!({"key": key(9).line()})).await;
        let claim: Value = serde_json::from_str(&claim.text).unwrap();
        assert_eq!(claim["needs"], json!({"own": true, "older": true}));
        let code = claim["code"].as_str().unwrap();
        let proved = store.confirm_key(code, key(9).fingerprint(), now()).await.unwrap();
        assert!(matches!(proved, Confirmed::StillNeeds(_, _, Needs { own: false, older: true })), "{proved:?}");
        let state = format!("/setup/state?key={}", escaped(key(9).fingerprint().as_str()));
        for path in ["/keys", &state] {
            let text = bed.get("alice", path).await.text;
            assert!(text.contains("No key of yours counts any more"), "{path} {text}");
            assert!(text.contains("fairlead-server keys add"), "{path} {text}");
        }
        store.add_key(&alice, &key(1), "", now()).await.unwrap();
        assert!(!bed.get("alice", "/keys").await.text.contains("counts any more"));
    }
    on_both(story);
}

#[tokio::test]
async fn at_its_own_host_name_the_page_removes_the_last_key_too() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &OWN_HOST).await;
    store.add_key(&person("alice"), &key(1), "", now()).await.unwrap();
    let removed = bed.post("alice", "/keys/remove", &[("fingerprint", key(1).fingerprint().as_str())]).await;
    assert_eq!(removed.status, StatusCode::SEE_OTHER, "{removed:?}");
    let claim = bed.api("alice", Method::POST, "/keys", &json!({"key": key(2).line()})).await;
    assert!(claim.text.contains("\"older\":false"), "{claim:?}");
}

#[tokio::test]
async fn a_person_changes_ten_keys_a_minute() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    for number in 1..=8 {
        let answer = bed.post("alice", "/setup", &[("key", key(number).line())]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    // What changes nothing is no change.
    let none = key(99).fingerprint().to_string();
    assert_eq!(bed.post("alice", "/keys/remove", &[("fingerprint", &none)]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(bed.post("alice", "/setup", &[("key", "ssh-ed25519 damaged")]).await.status, 422);
    for number in 1..=2 {
        let removed = bed.post("alice", "/keys/remove", &[("fingerprint", key(number).fingerprint().as_str())]).await;
        assert_eq!(removed.status, StatusCode::SEE_OTHER, "{removed:?}");
    }
    let one_more = key(3).fingerprint().to_string();
    let html = bed.post("alice", "/keys/remove", &[("fingerprint", &one_more)]).await;
    let form = bed.post("alice", "/setup", &[("key", key(20).line())]).await;
    let json = bed.api("alice", Method::POST, "/keys", &json!({"key": key(20).line()})).await;
    for answer in [&html, &form, &json] {
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS, "{answer:?}");
    }
    assert!(json.text.contains("\"code\":\"too-fast\"") && html.text.contains("ten keys a minute"), "{html:?}");
    assert_eq!(store.list_keys(Some(&person("alice")), now()).await.unwrap().len(), 6);
    assert_eq!(bed.post("bob", "/setup", &[("key", key(30).line())]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_code_is_on_the_page_once_and_in_no_address() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start(store.clone(), &[]).await;
    store.add_key(&person("alice"), &key(1), "", now()).await.unwrap();
    let block = bed.post("alice", "/setup", &[("key", key(2).line())]).await.text;
    let code = block.split("confirm fairlead-gateway confirm ").nth(1).unwrap()[..8].to_owned();
    assert!(block.contains(&format!("ssh fairlead-gateway confirm {code}<")), "{block}");
    let polled = block.split("hx-get=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(polled.starts_with("/fairlead/setup/state?key=SHA256") && !polled.contains(&code), "{polled}");
    let state = bed.get("alice", polled.strip_prefix("/fairlead").unwrap()).await.text;
    assert!(state.contains("data-older") && !state.contains(&code), "{state}");
    // The address of what a post answers is another page's: there is no code in that language.
    assert!(!block.contains("hreflang="), "{block}");
    assert!(bed.get("alice", "/setup").await.text.contains("hreflang="));
}

#[tokio::test]
async fn what_a_script_beside_the_page_could_do_is_said_where_it_could() {
    let database = Database::sqlite();
    for (flags, is_shared) in [(&[][..], true), (&OWN_HOST[..], false)] {
        let bed = PageBed::start(database.open().await, flags).await;
        let begin = bed.get("alice", "/setup").await.text;
        assert_eq!(begin.contains("only an admin can let you in again"), is_shared, "{begin}");
        let block = bed.post("alice", "/setup", &[("key", key(1).line())]).await.text;
        assert_eq!(block.contains("could have rewritten this block"), is_shared, "{block}");
    }
}
