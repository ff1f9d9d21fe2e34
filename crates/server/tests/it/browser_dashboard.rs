//! The browser of the tests shows what is there, and ends; and the stand-in dashboard treats a framed page as
//! Kubeflow's does.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::panic::AssertUnwindSafe;
use std::process::Command;

use axum::Router;
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT_LANGUAGE, CONTENT_TYPE};
use axum::response::Html;
use axum::routing::get;
use fairlead_lab::ingress::{Ingress, IngressSettings};
use futures::FutureExt as _;
use tokio::net::TcpListener;

use crate::browser::{Browser, Options};

/// An app in the dashboard that writes down what it hears.
const APP: &str = r#"<!doctype html><html lang="en"><head><title>App</title>
<link rel="icon" href="data:,">
<script src="/dashboard_lib.bundle.js"></script><script src="/fairlead/app.js"></script></head>
<body><p id="framed"></p><ul id="heard"></ul><a href="/fairlead/next?ns=team-b">next</a></body></html>"#;
const SCRIPT: &str = r##"addEventListener("DOMContentLoaded", () => {
  const hear = (text) => { heard.append(Object.assign(document.createElement("li"), { textContent: text })); };
  centraldashboard.CentralDashboardEventHandler.init((handler, framed) => {
    document.querySelector("#framed").textContent = `framed: ${framed}`;
    handler.onParentConnected = (message) => hear(`connected ${message.type}`);
    handler.onNamespaceSelected = (name) => hear(`namespace ${name}`);
    handler.onAllNamespacesSelected = (names) => hear(`all ${names.join()}`);
  });
});"##;

/// A page with something of everything that the browser is to see.
const PAGE: &str = r##"<!doctype html><html lang="en"><head><title>Page</title>
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">
<style>@media (prefers-color-scheme: dark) { body { background: rgb(1, 2, 3); } }</style></head>
<body><h1>笔记本</h1><p id="lang">LANG</p><p id="script">off</p><img src="/none.png">
<form method="post"><label>Name <input id="name"></label></form>
<button id="late">Late</button><p id="after"></p>
<script>document.querySelector("#script").textContent = "on";
late.onclick = () => setTimeout(() => { after.innerHTML = "<b>done</b>"; }, 200);</script></body></html>"##;

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    format!("http://{address}")
}

async fn page(headers: HeaderMap) -> Html<String> {
    let lang = headers.get(ACCEPT_LANGUAGE).map_or("", |value| value.to_str().unwrap());
    Html(PAGE.replace("LANG", lang))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_framed_app_hears_of_the_namespace_as_in_kubeflows_dashboard() {
    let script = get(|| async { ([(CONTENT_TYPE, "text/javascript")], SCRIPT) });
    let app = Router::new().route("/fairlead/app.js", script).fallback(get(Html(APP)));
    let upstream = serve(app).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let people = vec!["alice@example.com=team-a,team-b".parse().unwrap()];
    let settings = IngressSettings { secret: "s".repeat(32), people };
    tokio::spawn(async move { Ingress::serve(listener, &upstream, settings).await });

    let browser = Browser::open(Options::default()).await;
    browser.goto(&url).await;
    assert_eq!(browser.violations().await, [""; 0]);
    browser.click("button[value='alice@example.com']").await;
    browser.wait_text("#user", "alice@example.com", 10).await;
    browser.click("#fairlead").await;
    browser.wait_text("header", "Namespace", 10).await;
    assert_eq!(browser.attribute("iframe", "src").await.unwrap(), "/fairlead/?ns=team-a");
    browser.enter("iframe").await;
    browser.wait_text("#framed", "framed: true", 10).await;
    browser.wait_text("#heard", "connected parent-connected\nnamespace team-a", 10).await;
    assert_eq!(browser.url().await, format!("{url}/fairlead/?ns=team-a"));

    browser.leave().await;
    browser.click("#namespace option[value='team-b']").await;
    assert_eq!(browser.url().await, format!("{url}/_/fairlead/?ns=team-b"));
    browser.click("#namespace option[value='']").await;
    browser.enter("iframe").await;
    browser.wait_text("#heard", "namespace team-b\nall team-a,team-b", 10).await;
    // The address of the whole follows the frame.
    browser.click("a").await;
    browser.wait_text("#heard", "connected", 10).await;
    browser.leave().await;
    assert_eq!(browser.url().await, format!("{url}/_/fairlead/next?ns=team-b"));
    assert_eq!(browser.violations().await, [""; 0]);
    assert_eq!(browser.console().await, [""; 0]);

    // By itself the same page is not framed, and hears nothing.
    browser.goto(&format!("{url}/fairlead/")).await;
    browser.wait_text("#framed", "framed: false", 10).await;
    assert_eq!(browser.text("#heard").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_whose_browser_it_was_opened_as() {
    let url = serve(Router::new().route("/", get(page))).await;
    let phone = Options { dark: true, lang: "zh-CN,zh", phone: true, ..Options::default() };
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("page.png");
    for (options, lang, size, colour) in
        [(Options::default(), "en-US", [1280, 800], "rgba(0, 0, 0, 0)"), (phone, "zh-CN", [390, 844], "rgb(1, 2, 3)")]
    {
        let browser = Browser::open(options).await;
        browser.goto(&url).await;
        assert!(browser.text("#lang").await.starts_with(lang), "{}", browser.text("#lang").await);
        assert_eq!(browser.eval("return getComputedStyle(document.body).backgroundColor").await, colour);
        browser.screenshot(&picture).await;
        let bytes = std::fs::read(&picture).unwrap();
        let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        // A PNG begins with its signature and a header with both sizes.
        assert_eq!((&bytes[1..4], number(16), number(20)), (b"PNG".as_slice(), size[0], size[1]));
        // Where no font has them, all of them are the same box.
        let widths = "const one = document.createElement('canvas').getContext('2d'); one.font = '40px sans-serif';
            const ink = (text) => { one.clearRect(0, 0, 60, 60); one.fillText(text, 0, 40);
                return one.getImageData(0, 0, 60, 60).data.join(); };
            return ink('笔') !== ink('记') && ink('本') !== ink('\u{10ffff}');";
        assert_eq!(browser.eval(widths).await, true, "`lab/setup` installs a font with 简体中文");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_or_not_as_wished() {
    let url = serve(Router::new().route("/", get(page))).await;
    let browser = Browser::open(Options::default()).await;
    browser.goto(&url).await;
    assert_eq!(browser.text("#script").await, "on");
    browser.click("#late").await;
    browser.wait_text("#after b", "done", 10).await;
    browser.fill("#name", "ann").await;
    browser.fill("#name", "bob").await;
    assert_eq!(browser.value("#name").await, "bob");
    browser.press("by\u{e004}").await;
    assert_eq!(
        browser.eval("return [document.querySelector('#name').value, document.activeElement.id].join()").await,
        "bobby,late"
    );
    drop(browser);

    let browser = Browser::open(Options { javascript: false, ..Options::default() }).await;
    browser.goto(&url).await;
    assert_eq!(browser.text("#script").await, "off");
    assert_eq!(browser.count("button").await, 1);
    browser.fill("#name", "ann").await;
    assert_eq!(browser.value("#name").await, "ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_sees_what_a_policy_forbids_and_what_keeps_people_out() {
    let policy = [("content-security-policy", "default-src 'self'")];
    let url = serve(Router::new().route("/", get(move || async move { (policy, Html(PAGE)) }))).await;
    let browser = Browser::open(Options::default()).await;
    browser.goto(&url).await;
    let said = browser.console().await;
    let inline = |word: &str| said.iter().any(|line| line.starts_with("security: ") && line.contains(word));
    assert!(inline("inline script") && inline("inline style"), "{said:#?}");
    let found = browser.violations().await;
    assert!(matches!(found.as_slice(), [one] if one.starts_with("critical image-alt: ")), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_it_is_left_also_after_a_panic() {
    let url = serve(Router::new().route("/", get(page))).await;
    let failing = AssertUnwindSafe(async {
        let browser = Browser::open(Options::default()).await;
        browser.goto(&url).await;
        let home = browser.home();
        assert!(!processes_of(&home).is_empty());
        std::panic::panic_any(home);
    });
    let home = *failing.catch_unwind().await.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(processes_of(&home), "");
    assert!(!std::path::Path::new(&home).exists());
}

/// The command lines of all processes that were told of a browser's folder, or had it as their home.
fn processes_of(home: &str) -> String {
    let script = "grep -lsF \"$0\" /proc/[0-9]*/environ | cut -d/ -f3 | grep -v \"^$$\\$\" || true";
    let output = Command::new("bash").args(["-c", script, home]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}
