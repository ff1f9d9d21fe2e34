//! Every page in both languages, light and dark, on a desk and on a phone: nothing keeps anybody out, nothing is wider
//! than a phone, nothing complains, and names are text.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_server::clock::now;
use fairlead_server::store::sessions::SessionBegin;
use serde_json::json;

use crate::browser::{Browser, Options};
use crate::browser_site::{Greeter, Site, mail};
use crate::cluster::who;
use crate::databases::Database;
use crate::gateway_bed::Sshd;
use crate::rows::{begin, key};

/// A name that would run, were it not text.
const EVIL: &str = "<img src=x onerror=\"document.title='evil'\"><script>document.title='evil'</script>";
/// Of anybody's, and of the admin's.
const PAGES: [&str; 7] = ["/", "/setup", "/setup?key=", "/keys", "/sessions", "/notebooks/team-a/bert", "/none"];
const ADMIN_PAGES: [&str; 4] = ["/admin", "/admin/namespaces", "/admin/people", "/admin/keys"];

/// What may be on a page: notebooks in many states, keys and sessions, with names that are bait.
async fn furnish(site: &Site, bert: &Greeter, zoe: &Sshd) {
    site.running("team-a", "bert", bert.ip()).await;
    let long = "a-notebook-with-a-name-as-long-as-names-may-ever-be";
    site.notebook("team-a", long, json!({})).await;
    site.notebook("team-a", "zoe", json!({})).await;
    site.pod("team-a", "zoe", zoe.ip, |_| ()).await;
    let image = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": EVIL}]);
    let patch = kube::api::Patch::<()>::Json(serde_json::from_value(image).unwrap());
    site.cluster.notebooks("team-a").patch("zoe", &kube::api::PatchParams::default(), &patch).await.unwrap();
    let alice = who(&mail("alice"));
    site.store().add_key(&alice, &key(1), EVIL, now()).await.unwrap();
    site.store().add_key(&alice, &key(2), &"x".repeat(200), now()).await.unwrap();
    site.store().beat("gateway-1", now()).await.unwrap();
    let session = begin(&"0".repeat(32), 0);
    site.store().begin_session(&SessionBegin { client: EVIL.to_owned(), at: now(), ..session }).await.unwrap();
}

/// Looks at one page; what is wrong with it.
async fn complaints(browser: &Browser, phone: bool) -> Vec<String> {
    let mut wrong = browser.violations().await;
    let noise = |line: &String| line.contains("status of 404") && line.contains("/none");
    wrong.extend(browser.console().await.into_iter().filter(|line| !noise(line)));
    if phone {
        let width = "return document.documentElement.scrollWidth";
        let wide = browser.eval(width).await;
        if wide.as_i64().unwrap() > 390 {
            wrong.push(format!("it is {wide} wide"));
        }
    }
    if browser.eval("return document.title").await == "evil" || browser.count("img[src=x]").await > 0 {
        wrong.push("a name is not text".to_owned());
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let (bert, zoe) = (Greeter::start().await, Sshd::absent());
    furnish(&site, &bert, &zoe).await;
    let mut wrong = Vec::new();
    for (dark, lang, phone, title) in [(false, "en-US,en", false, "Notebooks"), (true, "zh-CN,zh", true, "笔记本")] {
        let browser = site.visit_with("alice", "/", Options { dark, lang, phone, javascript: true }).await;
        browser.wait_text("h1", title, 10).await;
        browser.wait_count(".card", 3).await;
        for page in PAGES.iter().chain(&ADMIN_PAGES) {
            if *page == ADMIN_PAGES[0] {
                site.sign_in(&browser, "root").await;
            }
            let chosen = key(1).fingerprint().as_str().replace('+', "%2B");
            browser.goto(&site.at(&page.replace("key=", &format!("key={chosen}")))).await;
            for (scheme, look) in [("light", !dark), ("dark", dark)] {
                // The other scheme of the same page: its colours alone differ.
                let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
                browser.devtools("Emulation.setEmulatedMedia", features).await;
                let of = if look { "" } else { ", in the other scheme" };
                let found = complaints(&browser, phone).await;
                wrong.extend(found.into_iter().map(|what| format!("{page} ({lang}, phone: {phone}{of}): {what}")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
