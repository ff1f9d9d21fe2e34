//! A real Chromium for tests of pages: what a person does and sees in it, as verbs.
//!
//! Everything waits for what it needs: an element that is not there yet, or in the way of another, is asked for again.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

mod axe;
mod driver;

use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

use driver::Driver;

/// Nothing that a page does takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The key under which WebDriver names elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Whose browser it is.
pub(crate) struct Options {
    /// Whether the person likes dark pages.
    pub(crate) dark: bool,
    /// What is sent as `Accept-Language`, as `zh-CN,zh`.
    pub(crate) lang: &'static str,
    /// A window of 390 × 844 instead of 1280 × 800.
    pub(crate) phone: bool,
    /// Whether scripts of pages run. Without, [`Browser::eval`] and [`Browser::violations`] still do.
    pub(crate) javascript: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { dark: false, lang: "en-US,en", phone: false, javascript: true }
    }
}

/// One window. Dropping it ends every process that it has.
pub(crate) struct Browser {
    driver: Driver,
}

impl Browser {
    pub(crate) async fn open(options: Options) -> Self {
        let browser = Self { driver: Driver::start(&options).await };
        let (width, height) = if options.phone { (390, 844) } else { (1280, 800) };
        // A window without a screen is never narrower than 500.
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": options.phone});
        browser.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if options.dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        browser.devtools("Emulation.setEmulatedMedia", features).await;
        let downloads = json!({"behavior": "allow", "downloadPath": format!("{}/downloads", browser.home())});
        browser.devtools("Browser.setDownloadBehavior", downloads).await;
        browser
    }

    /// Loads a page, and returns when it and its frames are loaded.
    pub(crate) async fn goto(&self, url: &str) {
        self.must(Method::POST, "url", json!({"url": url})).await;
    }

    /// The address of the page, or of the frame that was entered.
    pub(crate) async fn url(&self) -> String {
        self.eval("return location.href").await.as_str().unwrap().to_owned()
    }

    /// The text of an element as a person sees it.
    pub(crate) async fn text(&self, css: &str) -> String {
        self.of_element(css, "text").await.as_str().unwrap_or_default().to_owned()
    }

    /// An attribute as the page has it.
    pub(crate) async fn attribute(&self, css: &str, name: &str) -> Option<String> {
        self.of_element(css, &format!("attribute/{name}")).await.as_str().map(str::to_owned)
    }

    /// What is in a field now.
    pub(crate) async fn value(&self, css: &str) -> String {
        self.of_element(css, "property/value").await.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn click(&self, css: &str) {
        self.on_element(css, "click", json!({})).await;
    }

    /// Puts text into a field, in the place of what is there.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        self.on_element(css, "clear", json!({})).await;
        self.on_element(css, "value", json!({"text": text})).await;
    }

    /// Types into a field, behind what is there; into one for files, a file's path.
    pub(crate) async fn types(&self, css: &str, text: &str) {
        self.on_element(css, "value", json!({"text": text})).await;
    }

    /// Presses keys where the focus is; `\u{e004}` is Tab, `\u{e007}` is Enter.
    pub(crate) async fn press(&self, keys: &str) {
        let focus = self.must(Method::GET, "element/active", Value::Null).await;
        let id = focus[ELEMENT].as_str().unwrap().to_owned();
        self.must(Method::POST, &format!("element/{id}/value"), json!({"text": keys})).await;
    }

    /// Waits until an element has `text` in it.
    pub(crate) async fn wait_text(&self, css: &str, text: &str, seconds: u64) {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let found = self.find(css).await.ok();
            let said = match found {
                Some(id) => self.driver.ask(Method::GET, &format!("element/{id}/text"), Value::Null).await.ok(),
                None => None,
            };
            if said.as_ref().is_some_and(|said| said.as_str().is_some_and(|said| said.contains(text))) {
                return;
            }
            assert!(Instant::now() < deadline, "`{css}` has no `{text}` after {seconds} s, but {said:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until there are so many elements.
    pub(crate) async fn wait_count(&self, css: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.count(css).await != count {
            assert!(Instant::now() < deadline, "`{css}`: not {count}, but {}", self.count(css).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many elements there are now.
    pub(crate) async fn count(&self, css: &str) -> usize {
        let found = self.must(Method::POST, "elements", json!({"using": "css selector", "value": css})).await;
        found.as_array().unwrap().len()
    }

    /// From here on everything is about the frame's page, until [`Browser::leave`].
    pub(crate) async fn enter(&self, css: &str) {
        let id = self.element(css).await;
        self.must(Method::POST, "frame", json!({"id": {ELEMENT: id}})).await;
    }

    /// Back to the whole window.
    pub(crate) async fn leave(&self) {
        self.must(Method::POST, "frame", json!({"id": null})).await;
    }

    /// What a function's body returns in the page.
    pub(crate) async fn eval(&self, script: &str) -> Value {
        self.must(Method::POST, "execute/sync", json!({"script": script, "args": []})).await
    }

    /// Writes a picture of the whole page, also of what has to be scrolled to.
    pub(crate) async fn screenshot(&self, path: &Path) {
        let metrics = self.devtools("Page.getLayoutMetrics", json!({})).await;
        let size = &metrics["cssContentSize"];
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let wish = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let mut picture = self.devtools("Page.captureScreenshot", wish).await;
        let bytes: ByteString = serde_json::from_value(picture["data"].take()).unwrap();
        std::fs::write(path, bytes.0).unwrap();
    }

    /// What axe-core finds serious or critical: rule, what it is about, and which elements.
    pub(crate) async fn violations(&self) -> Vec<String> {
        axe::violations(self).await
    }

    /// Errors and warnings of the console since the last look, with violations of Content-Security-Policy among them.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self.must(Method::POST, "se/log", json!({"type": "browser"})).await;
        let of = |entry: &Value| {
            let word = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            ["SEVERE", "WARNING"].contains(&word("level").as_str()).then(|| word("source") + ": " + &word("message"))
        };
        entries.as_array().unwrap().iter().filter_map(of).collect()
    }

    /// The folder with everything that it writes.
    pub(crate) fn home(&self) -> String {
        self.driver.home()
    }

    /// The text of a file that was downloaded. Its name is there before its text is.
    pub(crate) async fn downloaded(&self, name: &str) -> String {
        let file = Path::new(&self.home()).join("downloads").join(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match std::fs::read_to_string(&file) {
                Ok(text) if !text.is_empty() => return text,
                _ => assert!(Instant::now() < deadline, "`{name}` was not downloaded"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A command of Chrome's own protocol.
    pub(crate) async fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.must(Method::POST, "goog/cdp/execute", json!({"cmd": command, "params": parameters})).await
    }

    async fn of_element(&self, css: &str, what: &str) -> Value {
        self.try_element(css, Method::GET, what, Value::Null).await
    }

    async fn on_element(&self, css: &str, what: &str, body: Value) {
        self.try_element(css, Method::POST, what, body).await;
    }

    async fn element(&self, css: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.find(css).await {
                Ok(id) => return id,
                Err(error) => assert!(Instant::now() < deadline, "no `{css}`: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Again and again: pages change under one's fingers.
    async fn try_element(&self, css: &str, method: Method, what: &str, body: Value) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let id = self.element(css).await;
            match self.driver.ask(method.clone(), &format!("element/{id}/{what}"), body.clone()).await {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < deadline, "`{what}` of `{css}`: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn find(&self, css: &str) -> Result<String, String> {
        let wish = json!({"using": "css selector", "value": css});
        let found = self.driver.ask(Method::POST, "element", wish).await?;
        Ok(found[ELEMENT].as_str().unwrap().to_owned())
    }

    async fn must(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.driver.ask(method, path, body).await;
        answer.unwrap_or_else(|error| panic!("the browser refused `{path}`: {error}"))
    }
}
