//! axe-core, which finds what keeps people with a screen reader or a keyboard out.

use std::path::PathBuf;
use std::process::Command;

use fairlead_lab::paths;
use http::Method;
use serde_json::{Value, json};

use super::Browser;

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

/// axe-core's text, from an environment in the cache that is made where it is not there yet.
fn script() -> String {
    let python = paths::cache().unwrap().join("python");
    let _lock = paths::lock(&python.join("lock")).unwrap();
    let environment = python.join(PACKAGE);
    let done = environment.join("done");
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "--no-deps", PACKAGE]));
        std::fs::write(&done, "").unwrap();
    }
    std::fs::read_to_string(file(&environment)).unwrap()
}

/// Which Python it is names a folder on the way.
fn file(environment: &std::path::Path) -> PathBuf {
    let versions = std::fs::read_dir(environment.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = versions.map(|folder| folder.join("site-packages/axe_playwright_python/axe.min.js"));
    files.find(|file| file.is_file()).expect("the package has axe-core")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
