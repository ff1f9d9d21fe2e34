//! axe-core, which finds what keeps people with a screen reader or a keyboard out.

use http::Method;
use serde_json::{Value, json};

use super::Browser;
use crate::python;

/// A package that carries axe-core 4.12.1 as a file. Pinned, because another version judges by other rules. What it
/// depends on drives browsers, and is left away.
const PACKAGE: &str = "axe-playwright-python==0.1.8";
const RUN: &str = "const done = arguments[0];
axe.run(document, {resultTypes: ['violations']}).then((found) => done(found.violations), (error) => done(String(error)))";

/// What is serious or critical, a line each.
pub(super) async fn violations(browser: &Browser) -> Vec<String> {
    let script = tokio::task::spawn_blocking(script).await.unwrap();
    browser.eval(&script).await;
    let found = browser.must(Method::POST, "execute/async", json!({"script": RUN, "args": []})).await;
    let found = found.as_array().unwrap_or_else(|| panic!("axe-core did not run: {found}"));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let of = |violation: &Value| {
        let impact = word(&violation["impact"]);
        let nodes = violation["nodes"].as_array().into_iter().flatten().map(|node| node["target"].to_string());
        let nodes: Vec<String> = nodes.collect();
        ["serious", "critical"].contains(&impact.as_str()).then(|| {
            format!("{impact} {}: {} at {}", word(&violation["id"]), word(&violation["help"]), nodes.join(" "))
        })
    };
    found.iter().filter_map(of).collect()
}

fn script() -> String {
    let file = python::file(PACKAGE, "axe_playwright_python/axe.min.js");
    std::fs::read_to_string(file).unwrap()
}
