//! The page inside the dashboard: without a head of its own, with the namespace that is picked there, and in no frame of
//! anybody else's.

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;

use crate::browser_site::{Site, until};
use crate::databases::Database;
use crate::rows::key;

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_frames_the_page_and_picks_its_namespace() {
    let site = Site::start(Database::sqlite(), &[]).await;
    site.cluster.contributor("team-b", "user-alice", "alice@example.com", "edit").await;
    site.notebook("team-a", "bert", json!({})).await;
    site.notebook("team-b", "ernie", json!({})).await;
    let browser = site.visit("alice", "/").await;
    browser.wait_count(".card", 2).await;
    assert!(browser.eval(VISIBLE).await == json!([true, true, true]), "by itself it has all of these");

    browser.goto(&site.url).await;
    browser.click("#fairlead").await;
    browser.enter("iframe").await;
    browser.wait_text(".card", "bert", 10).await;
    assert_eq!(browser.count(".card").await, 1);
    assert_eq!(browser.eval(VISIBLE).await, json!([false, false, false]));
    // What is shown once stays, although the dashboard says its namespace at each load.
    browser.click("header nav a[href$='/setup']").await;
    browser.fill("#key", key(1).line()).await;
    browser.click("form button.main").await;
    browser.wait_text("#block-shell", "confirm fairlead-gateway confirm", 10).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(browser.count("#block-shell").await, 1);
    browser.click("header nav a[href$='/fairlead/']").await;
    browser.wait_text(".card", "bert", 10).await;
    browser.leave().await;
    browser.click("#namespace option[value='team-b']").await;
    browser.enter("iframe").await;
    browser.wait_text(".card", "ernie", 10).await;
    browser.leave().await;
    browser.click("#namespace option[value='']").await;
    browser.enter("iframe").await;
    browser.wait_count(".card", 2).await;

    // Other pages of it keep the frame's look, and forms work in it.
    browser.click("header nav a[href$='/keys']").await;
    browser.wait_text("h1", "Keys", 10).await;
    assert_eq!(browser.eval(VISIBLE).await[0], false);
    browser.click("header nav a[href$='/fairlead/']").await;
    browser.click("#stop-nb-team-a_bert").await;
    browser.wait_text("#nb-team-a_bert .state", "Stopped", 10).await;
    assert_eq!(browser.console().await, [""; 0]);

    // A page of somebody else shows nothing of it.
    let framing = format!("<!doctype html><title>x</title><iframe src=\"{}\"></iframe>", site.at("/"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(get(async move || Html(framing)));
    tokio::spawn(async move { axum::serve(listener, app).await });
    browser.leave().await;
    browser.goto(&other).await;
    until("it is refused", async || browser.console().await.iter().any(|line| line.contains("frame-ancestors"))).await;
    browser.enter("iframe").await;
    assert_eq!(browser.count(".card, header").await, 0);
}

/// Whether brand, person and namespace picker are to be seen.
const VISIBLE: &str = "return ['.brand', '.person', '.picker'].map((css) => {
    const one = document.querySelector(css); return one !== null && one.checkVisibility(); });";
