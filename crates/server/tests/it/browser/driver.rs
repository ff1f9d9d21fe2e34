//! chromedriver and its Chromium: started in a PID namespace of their own, so that the kernel ends all of it with the
//! test, however the test ends.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use fairlead_lab::process;
use http::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Options, PATIENCE};

/// A chromedriver with one session.
pub(super) struct Driver {
    process: Child,
    client: Client<HttpConnector, Body>,
    session: String,
    home: TempDir,
}

impl Driver {
    /// Not to be called from a thread that ends before the test: the processes end with the thread.
    pub(super) async fn start(options: &Options) -> Self {
        // It takes a free port of IPv6 and then the same of IPv4, which may be somebody's.
        for _ in 0..5 {
            if let Some(driver) = Self::try_start(options).await {
                return driver;
            }
        }
        panic!("chromedriver found no port five times")
    }

    async fn try_start(options: &Options) -> Option<Self> {
        let home = tempfile::Builder::new().prefix("fairlead-browser").tempdir().unwrap();
        let log = home.path().join("chromedriver.log");
        let process = command(&home, &log).spawn().expect("`lab/setup` installs `chromium-driver`");
        let client = Client::builder(TokioExecutor::new()).build_http();
        // From here on a panic ends the process.
        let mut driver = Self { process, client, session: String::new(), home };
        let deadline = Instant::now() + PATIENCE;
        let port = loop {
            let said = fs::read_to_string(&log).unwrap_or_default();
            let found = said.split_once("successfully on port ").and_then(|(_, rest)| rest.split('.').next());
            if let Some(port) = found {
                break port.to_owned();
            }
            if said.contains("Address already in use") {
                return None;
            }
            assert!(Instant::now() < deadline, "chromedriver does not start: {said}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let sessions = format!("http://127.0.0.1:{port}/session");
        let wish = json!({"capabilities": {"alwaysMatch": capabilities(options)}});
        let made =
            driver.send(Method::POST, &sessions, wish).await.unwrap_or_else(|error| panic!("no browser: {error}"));
        driver.session = format!("{sessions}/{}", made["sessionId"].as_str().unwrap());
        Some(driver)
    }

    /// A command of the session: its value, or what WebDriver says is wrong.
    pub(super) async fn ask(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        self.send(method, &format!("{}/{path}", self.session), body).await
    }

    pub(super) fn home(&self) -> String {
        self.home.path().display().to_string()
    }

    async fn send(&self, method: Method, url: &str, body: Value) -> Result<Value, String> {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(url).body(body).unwrap();
        let response = self.client.request(request).await.map_err(|error| format!("chromedriver is gone: {error}"))?;
        let good = response.status().is_success();
        let bytes = to_bytes(Body::new(response.into_body()), usize::MAX).await.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let value = answer["value"].take();
        let why = || value["message"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned();
        if good { Ok(value) } else { Err(why()) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // With the first process of the namespace the kernel ends every other in it. Its parent waits for that, and ends.
        let first = process::children(self.process.id());
        for pid in first.iter().filter_map(|pid| Pid::from_raw(i32::try_from(*pid).ok()?)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if first.is_empty() {
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

fn command(home: &TempDir, log: &std::path::Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare"]);
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "chromedriver", "--port=0"]);
    let output = File::create(log).unwrap();
    // Nothing of this machine: no proxy, and nothing in anybody's home.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("HOME", home.path()).env("TMPDIR", home.path()).env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    command
}

fn capabilities(options: &Options) -> Value {
    let mut preferences = json!({"intl.accept_languages": options.lang});
    if !options.javascript {
        preferences["profile.managed_default_content_settings.javascript"] = json!(2);
    }
    let arguments = [
        "--headless=new",
        // Chromium's own sandbox refuses root. The pages are the test's own.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--no-proxy-server",
        "--hide-scrollbars",
    ];
    json!({
        "browserName": "chrome",
        "goog:chromeOptions": {"args": arguments, "prefs": preferences},
        "goog:loggingPrefs": {"browser": "ALL"},
    })
}
