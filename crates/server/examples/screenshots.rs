//! Pictures of the page for the docs: `screenshots FOLDER`, or `make screenshots`. Of the demo where it runs, else of a
//! page in this process over the facts that the tests of the page have.
#![expect(clippy::unwrap_used, dead_code, reason = "a tool that cannot do its work says where, with the tests' parts")]

#[path = "../tests/it"]
mod it {
    pub(crate) mod browser;
    pub(crate) mod gateway_bed;
    pub(crate) mod gateway_person;
    pub(crate) mod page_bed;
    pub(crate) mod python;
    pub(crate) mod rows;
}

use std::path::Path;
use std::time::Duration;

use fairlead_lab::ingress::{Ingress, IngressSettings, Visitor};
use fairlead_server::clock::now;
use fairlead_server::store::Store;
use fairlead_server::store::sessions::SessionBegin;
use it::browser::{Browser, Options};
use it::page_bed::{PageBed, SECRET};
use it::{gateway_bed, gateway_person, python, rows};
use serde_json::json;
use tokio::net::TcpListener;

/// A picture: its file's name, who looks, at what, and in which browser.
struct Shot {
    name: &'static str,
    who: &'static str,
    path: &'static str,
    dark: bool,
    lang: &'static str,
    phone: bool,
}

const EN: &str = "en-US,en";
const ZH: &str = "zh-CN,zh";
const SHOTS: [Shot; 11] = [
    shot("dashboard", "alice", "/_/fairlead/?ns=team-a", (false, EN, false)),
    shot("notebooks", "alice", "/fairlead/", (false, EN, false)),
    shot("notebooks-dark", "alice", "/fairlead/", (true, EN, false)),
    shot("notebooks-zh", "alice", "/fairlead/", (false, ZH, false)),
    shot("notebooks-phone", "alice", "/fairlead/", (true, ZH, true)),
    shot("notebook", "alice", "/fairlead/notebooks/team-a/bert", (false, EN, false)),
    shot("setup", "alice", "/fairlead/setup", (false, EN, false)),
    shot("setup-phone", "alice", "/fairlead/setup", (false, ZH, true)),
    shot("keys", "alice", "/fairlead/keys", (false, EN, false)),
    shot("sessions", "alice", "/fairlead/sessions", (true, EN, false)),
    shot("admin", "admin", "/fairlead/admin/namespaces", (false, EN, false)),
];

const fn shot(
    name: &'static str,
    who: &'static str,
    path: &'static str,
    (dark, lang, phone): (bool, &'static str, bool),
) -> Shot {
    Shot { name, who, path, dark, lang, phone }
}

#[tokio::main]
async fn main() {
    let folder = std::env::args().nth(1).expect("a folder for the pictures");
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/demo/page_url");
    // Held until the last picture is made.
    let (_bed, url) = match std::fs::read_to_string(demo) {
        Ok(url) => (None, url.trim().trim_end_matches('/').to_owned()),
        Err(_) => furnished(dir.path()).await,
    };
    for shot in SHOTS {
        take(&shot, &url, folder).await;
    }
}

/// A page with something to see on each of its pages, behind an ingress.
async fn furnished(dir: &Path) -> (Option<PageBed>, String) {
    let store = Store::open(&format!("sqlite:{}/fairlead.db", dir.display())).await.unwrap();
    let alice = rows::person("alice");
    let added = now().plus_seconds(-40 * 86_400);
    store.add_key(&alice, &rows::key(3), "alice@laptop", added).await.unwrap();
    store.add_key(&rows::person("bob"), &rows::key(4), "bob@desk", added).await.unwrap();
    store.beat("gateway-1", now()).await.unwrap();
    let notes = [("alice", 3, "bert", 900), ("bob", 4, "bert", 4_000), ("alice", 3, "grover", 90_000)];
    for (number, (person, key, notebook, seconds)) in notes.into_iter().enumerate() {
        let begin = SessionBegin {
            person: rows::person(person),
            key: rows::key(key).fingerprint().clone(),
            notebook: gateway_bed::id("team-a", notebook),
            at: now().plus_seconds(-seconds),
            ..rows::begin(&format!("{number:032}"), 0)
        };
        store.begin_session(&begin).await.unwrap();
        if notebook == "grover" {
            let mut end = rows::end(&begin.id, 0, "closed");
            (end.at, end.bytes_up, end.bytes_down) = (begin.at.plus_seconds(5_400), 410_000, 93_000_000);
            store.end_session(&end).await.unwrap();
        }
    }
    store.switch_off(&gateway_bed::label("team-b"), &rows::person("admin"), now()).await.unwrap();
    let bed = PageBed::start(store, &["--page-insecure-cookies", "--page-admins", "admin@example.com"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let people = vec![Visitor { user: "alice@example.com".to_owned(), namespaces: vec!["team-a".to_owned()] }];
    let (settings, upstream) = (IngressSettings { secret: SECRET.to_owned(), people }, bed.address.to_string());
    tokio::spawn(async move { Ingress::serve(listener, &upstream, settings).await });
    (Some(bed), url)
}

async fn take(shot: &Shot, url: &str, folder: &Path) {
    let options = Options { dark: shot.dark, lang: shot.lang, phone: shot.phone, javascript: true };
    let browser = Browser::open(options).await;
    browser.goto(url).await;
    browser.fill("input[name=person]", &format!("{}@example.com", shot.who)).await;
    browser.press("\u{e007}").await;
    browser.wait_text("#user", shot.who, 10).await;
    let framed = shot.path.starts_with("/_/");
    let (width, height) = if shot.phone { (390, 300) } else { (1280, if framed { 620 } else { 300 }) };
    // As high as what is on it.
    let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": shot.phone});
    browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
    browser.goto(&format!("{url}{}", shot.path)).await;
    if shot.path.ends_with("/setup") {
        browser.fill("#key", &format!("{} alice@desk", rows::key(5).line())).await;
        browser.click("form button.main").await;
        browser.wait_count("#state", 1).await;
    }
    // Fonts, and what fades in.
    tokio::time::sleep(Duration::from_millis(600)).await;
    let file = folder.join(format!("{}.png", shot.name));
    browser.screenshot(&file).await;
    // To a palette: a third of the bytes, and nobody sees it.
    let mut smaller = std::process::Command::new("pngquant");
    let done = smaller.args(["--force", "--strip", "--ext", ".png", "--quality", "60-90", "48"]).arg(&file).status();
    assert!(done.expect("`lab/setup` installs `pngquant`").success(), "pngquant refuses {}", file.display());
}
