//! Everything works by links and forms alone, in a browser that runs no script.

use fairlead_model::read::STOPPED;
use fairlead_server::clock::now;
use fairlead_server::store::sessions::SessionBegin;
use serde_json::json;

use crate::browser::{Browser, Options};
use crate::browser_laptop::Laptop;
use crate::browser_site::{Site, until};
use crate::databases::Database;
use crate::rows::begin;

/// Loads the page again until an element has this text, as a person without scripts does.
async fn again_until(browser: &Browser, css: &str, text: &str) {
    until(text, async || {
        let url = browser.url().await;
        browser.goto(&url).await;
        browser.count(css).await > 0 && browser.text(css).await.contains(text)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flow_goes_without_a_script() {
    let site = Site::start(Database::sqlite(), &[]).await;
    site.cluster.contributor("team-b", "user-alice", "alice@example.com", "edit").await;
    site.notebook("team-a", "bert", json!({})).await;
    site.notebook("team-b", "ernie", json!({})).await;
    let plain = Options { javascript: false, ..Options::default() };
    let browser = site.visit_with("alice", "/", plain).await;
    again_until(&browser, "main", "ernie").await;
    browser.click("#ns option:nth-child(2)").await;
    browser.click(".picker button").await;
    assert_eq!(browser.text(".card h2").await, "bert");

    // Stop and start.
    browser.click("#stop-nb-team-a_bert").await;
    browser.wait_text("#said", "bert is stopping.", 10).await;
    assert!(site.annotation("team-a", "bert", STOPPED).await.is_some());
    again_until(&browser, "#nb-team-a_bert .state", "Stopped").await;
    browser.click("#start-nb-team-a_bert").await;
    browser.wait_text("#said", "bert is starting.", 10).await;
    assert_eq!(site.annotation("team-a", "bert", STOPPED).await, None);

    // Set up, and look again.
    let laptop = Laptop::new("laptop");
    browser.click("header nav a:nth-child(2)").await;
    let block = site.begins(&browser, &laptop.key()).await;
    assert_eq!(laptop.runs(&block).await.code, Some(0));
    browser.click("noscript a").await;
    browser.wait_text("tbody tr", "Counts", 10).await;
    let other = Laptop::new("desk");
    site.begins(&browser, &other.key()).await;
    browser.click("header nav a[href$='/keys']").await;
    browser.click("tbody tr:nth-child(2) button.danger").await;
    browser.wait_text("#said", "Removed SHA256:", 10).await;
    browser.wait_count("tbody tr", 1).await;

    // End a session.
    site.store().beat("gateway-1", now()).await.unwrap();
    let session = SessionBegin { at: now(), ..begin(&"0".repeat(32), 0) };
    site.store().begin_session(&session).await.unwrap();
    browser.click("header nav a[href$='/sessions']").await;
    browser.click("tbody button.danger").await;
    browser.wait_text("#said", "It ends now.", 10).await;
    assert_eq!(site.store().ends_asked("gateway-1").await.unwrap().len(), 1);

    // Another language, which stays.
    browser.click(".who a").await;
    browser.wait_text("h1", "会话", 10).await;
    browser.click("header nav a:first-child").await;
    browser.wait_text("#nb-team-a_bert", "启动", 10).await;
    browser.click(".who a").await;

    // The admin's switch.
    site.sign_in(&browser, "root").await;
    browser.goto(&site.at("/admin/namespaces")).await;
    browser.click("tbody tr:nth-child(1) button.danger").await;
    browser.wait_text("#said", "SSH is off in team-a.", 10).await;
    browser.wait_text("tbody tr:nth-child(1)", "Off by root@example.com", 1).await;
    assert_eq!(site.store().list_switches().await.unwrap().len(), 1);
}
