//! The page by keyboard alone, what its copy buttons copy, and where its links to editors lead.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::browser_site::{Greeter, Site, until};
use crate::databases::Database;

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

/// What has the focus: its text, and whether a line around it says so.
async fn focus(browser: &Browser) -> (String, bool) {
    let script = "const one = document.activeElement, look = getComputedStyle(one);
        return [one.textContent.trim().replace(/\\s+/g, ' '), look.outlineStyle !== 'none' && parseFloat(look.outlineWidth) > 1];";
    serde_json::from_value(browser.eval(script).await).unwrap()
}

/// Goes on with Tab until something with this text has the focus; everything on the way has to show it.
async fn tab_to(browser: &Browser, text: &str) {
    for _ in 0..40 {
        browser.press(TAB).await;
        let (found, visible) = focus(browser).await;
        assert!(visible, "the focus is not to be seen on `{found}`");
        if found == text {
            return;
        }
    }
    panic!("Tab does not lead to `{text}`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyboard_and_a_clipboard_are_enough() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let bert = Greeter::start().await;
    site.running("team-a", "bert", bert.ip()).await;
    // Something behind it, for the focus to go to.
    site.notebook("team-a", "grover", json!({})).await;
    let browser = site.visit("alice", "/").await;
    browser.wait_text("#nb-team-a_bert .state", "Running", 20).await;
    browser.devtools("Emulation.setFocusEmulationEnabled", json!({"enabled": true})).await;

    browser.press(TAB).await;
    assert_eq!(focus(&browser).await, ("Skip to the content".to_owned(), true));
    let skip = "const at = document.activeElement.getBoundingClientRect(); return at.left >= 0 && at.top >= 0;";
    assert_eq!(browser.eval(skip).await, true, "the skip link is to be seen");
    browser.press(ENTER).await;
    assert_eq!(browser.eval("return document.activeElement.id").await, "main");
    tab_to(&browser, "bert").await;
    tab_to(&browser, "Stop").await;
    tab_to(&browser, "Copy").await;

    let granted = json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "origin": site.url});
    browser.devtools("Browser.grantPermissions", granted).await;
    browser.press(ENTER).await;
    browser.wait_text("#said", "Copied.", 10).await;
    let clipboard = browser.eval("return navigator.clipboard.readText()").await;
    assert_eq!(clipboard, "ssh bert.team-a.notebook");

    tab_to(&browser, "Other editors").await;
    let open = "return document.querySelector('details.menu').open";
    browser.press(ENTER).await;
    until("the menu opens", async || browser.eval(open).await == true).await;
    tab_to(&browser, "Zed").await;
    browser.press(ESCAPE).await;
    until("the menu closes", async || browser.eval(open).await == false).await;
    assert_eq!(focus(&browser).await.0, "Other editors");
    // It closes as well when the focus goes on.
    browser.press(ENTER).await;
    tab_to(&browser, "JetBrains Gateway").await;
    browser.press(TAB).await;
    assert_ne!(focus(&browser).await.0, "JetBrains Gateway", "Tab stays in the menu");
    until("the menu closes", async || browser.eval(open).await == false).await;

    let links = "return [...document.querySelectorAll('.connect a')].map((one) => [one.textContent, one.href])";
    let code =
        |scheme: &str| format!("{scheme}://vscode-remote/ssh-remote+bert.team-a.notebook/home/jovyan?windowId=_blank");
    let jetbrains = "jetbrains-gateway://connect#type=ssh&deploy=false&host=bert.team-a.notebook&port=2209&user=jovyan\
                     &projectPath=/home/jovyan";
    let expected: Value = json!([
        ["Open in VS Code", code("vscode")],
        ["VS Code Insiders", code("vscode-insiders")],
        ["Cursor", code("cursor")],
        ["Windsurf", code("windsurf")],
        ["Zed", "zed://ssh/bert.team-a.notebook/home/jovyan"],
        ["JetBrains Gateway", jetbrains],
    ]);
    assert_eq!(browser.eval(links).await, expected);

    // The connection details of it.
    browser.click("#nb-team-a_bert h2 a").await;
    browser.wait_text("main", "bert.team-a.notebook", 10).await;
    browser.wait_text("main", "bert.team-a.notebook", 5).await;
    assert_eq!(browser.console().await, [""; 0]);
}
