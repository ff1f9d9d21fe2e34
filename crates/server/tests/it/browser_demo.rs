//! The demo of the page alone: on loopback, without an ingress, one picks who one is.

use crate::browser::{Browser, Options};
use crate::databases::Database;
use crate::page_bed::PageBed;

#[tokio::test(flavor = "multi_thread")]
async fn one_picks_who_one_is() {
    let database = Database::sqlite();
    let bed = PageBed::start_unseen(database.open().await, &["--page-demo"]).await;
    bed.populate_unseen().await;
    let at = |path: &str| format!("http://{}/fairlead{path}", bed.address);
    let browser = Browser::open(Options::default()).await;
    browser.goto(&at("/")).await;
    browser.wait_text(".empty", "No notebooks here yet.", 10).await;
    browser.click(".who a.person").await;
    browser.click("form:has(input[value='bob@example.com']) button").await;
    browser.wait_text(".card", "bert", 10).await;
    browser.goto(&at("/demo")).await;
    browser.fill("#person", "erin@example.com").await;
    browser.press("\u{e007}").await;
    browser.wait_text(".card", "ernie", 10).await;
    assert_eq!(browser.violations().await, [""; 0]);
    assert_eq!(browser.console().await, [""; 0]);
}
