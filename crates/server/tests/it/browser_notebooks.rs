//! The list of notebooks in a browser: what it says of each, how it follows the cluster, and what its buttons do there.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use fairlead_model::read::STOPPED;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::browser::Browser;
use crate::browser_site::{Greeter, Site, until};
use crate::cluster::{eventually, mounted};
use crate::databases::{Database, on_both_here};
use crate::gateway_bed::Sshd;

impl Site {
    /// Changes a Notebook's annotations as somebody else does, and returns when the API server has acknowledged it.
    async fn annotate(&self, name: &str, annotations: serde_json::Value) {
        let change = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        self.cluster.notebooks("team-a").patch(name, &PatchParams::default(), &change).await.unwrap();
    }

    /// Waits until the API server has Kubeflow's stop annotation on a Notebook, or has not.
    async fn is_stopped(&self, name: &str, stopped: bool) {
        eventually(&format!("{name} stopped: {stopped}"), async || {
            (self.annotation("team-a", name, STOPPED).await.is_some() == stopped).then_some(())
        })
        .await;
    }
}

/// The state of each card, in the page's order.
async fn states(browser: &Browser) -> Vec<String> {
    let script =
        "return [...document.querySelectorAll('.card')].map((one) => `${one.dataset.key} ${one.dataset.state}`)";
    serde_json::from_value(browser.eval(script).await).unwrap()
}

fn card(name: &str) -> String {
    format!("#nb-team-a_{name}")
}

#[test]
fn the_list_says_how_each_notebook_stands_and_what_to_do() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        let (bert, elmo, quiet) = (Greeter::start().await, Greeter::start().await, Sshd::absent());
        site.running("team-a", "bert", bert.ip()).await;
        site.notebook("team-a", "elmo", json!({})).await;
        site.pod("team-a", "elmo", elmo.ip(), |_| ()).await;
        site.notebook("team-a", "grover", json!({STOPPED: "2026-11-23T10:00:00Z"})).await;
        site.notebook("team-a", "kermit", json!({})).await;
        site.notebook("team-a", "oscar", json!({"fairlead.dev/ssh": "disabled"})).await;
        site.notebook("team-a", "zoe", json!({})).await;
        site.pod("team-a", "zoe", quiet.ip, mounted).await;
        site.running("team-b", "ernie", bert.ip()).await;

        let browser = site.visit("alice", "/").await;
        for (name, state, todo) in [
            ("bert", "Running", "2 CPU"),
            ("elmo", "Needs a restart", "started before Fairlead was there. Restart it once"),
            ("grover", "Stopped", "Start it, and connect a minute later."),
            ("kermit", "Starting", "It will be ready in a moment."),
            ("oscar", "SSH is off", "SSH is switched off for this notebook"),
            ("zoe", "No SSH in this image", "Choose an image with Fairlead's SSH layer"),
        ] {
            browser.wait_text(&format!("{} .state", card(name)), state, 20).await;
            browser.wait_text(&card(name), todo, 5).await;
        }
        for fact in ["jupyter-bert:v1", "2 CPU", "8Gi", "1 GPU", "ssh bert.team-a.notebook", "Open in VS Code"] {
            browser.wait_text(&card("bert"), fact, 1).await;
        }
        assert_eq!(browser.count("[id^=nb-team-b]").await, 0, "nothing of another's profile");
        browser.wait_text("#summary", "1 notebook was started before Fairlead was there", 5).await;
        browser.wait_text("#summary", "no key of yours counts", 1).await;

        // Who only looks sees the states, and no way in.
        site.sign_in(&browser, "carol").await;
        browser.goto(&site.at("/")).await;
        browser.wait_text(&card("bert"), "Your role here is view", 10).await;
        assert_eq!(browser.count(".card form, .card .connect").await, 0);
        assert_eq!(browser.console().await, [""; 0]);
        drop(quiet);
    }
    on_both_here(story);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_list_follows_the_cluster_within_a_second() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let at = Greeter::start().await;
    for name in ["bert", "grover"] {
        site.notebook("team-a", name, json!({})).await;
    }
    let browser = site.visit("bob", "/").await;
    browser.wait_count(".card", 2).await;
    browser.eval("window.same = true").await;
    let mut times: Vec<Duration> = Vec::new();
    for round in 0..9 {
        let stop = round % 2 == 0;
        site.annotate("bert", json!({STOPPED: stop.then_some("2026-11-23T10:00:00Z")})).await;
        let wished = if stop { "team-a/bert stopped" } else { "team-a/bert starting" };
        times.push(until(wished, async || states(&browser).await[0] == wished).await);
    }
    times.sort();
    println!("cluster to page: median {:?}, slowest {:?}", times[4], times[8]);
    assert!(times[4] <= Duration::from_secs(1), "{times:?}");
    browser.wait_text("#said", "bert is now: Stopped", 5).await;

    // A new one appears at its place, a Pod makes it run, and it goes.
    site.running("team-a", "elmo", at.ip()).await;
    until("in order", async || {
        states(&browser).await == ["team-a/bert stopped", "team-a/elmo running", "team-a/grover starting"]
    })
    .await;
    site.cluster.notebooks("team-a").delete("bert", &DeleteParams::default()).await.unwrap();
    until("gone", async || states(&browser).await == ["team-a/elmo running", "team-a/grover starting"]).await;

    // Who is no contributor any more sees nothing any more, in the page that is open.
    site.cluster.delete::<RoleBinding>("team-a", "user-bob").await;
    until("all gone", async || states(&browser).await.is_empty()).await;
    browser.wait_text(".empty", "No notebooks here yet.", 5).await;
    assert_eq!(browser.eval("return window.same").await, true, "nothing loaded the page again");
    assert_eq!(browser.console().await, [""; 0]);
}

#[test]
fn buttons_start_stop_and_restart_in_the_cluster() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        let (at, old) = (Greeter::start().await, Greeter::start().await);
        site.running("team-a", "bert", at.ip()).await;
        site.notebook("team-a", "elmo", json!({})).await;
        site.pod("team-a", "elmo", old.ip(), |_| ()).await;
        let browser = site.visit("bob", "/").await;
        browser.click("#stop-nb-team-a_bert").await;
        site.is_stopped("bert", true).await;
        browser.wait_text("#nb-team-a_bert .state", "Stopped", 10).await;
        site.cluster.delete::<Pod>("team-a", "bert-0").await;
        browser.click("#start-nb-team-a_bert").await;
        site.is_stopped("bert", false).await;
        browser.wait_text("#nb-team-a_bert .state", "Starting", 10).await;
        site.pod("team-a", "bert", at.ip(), mounted).await;
        browser.wait_text("#nb-team-a_bert .state", "Running", 10).await;

        // By the button for all: stopped, and started again once its Pod is gone.
        browser.click("#summary button").await;
        browser.wait_text("#said", "Restarting 1.", 10).await;
        site.is_stopped("elmo", true).await;
        browser.wait_text("#nb-team-a_elmo .state", "Stopped", 10).await;
        site.cluster.delete::<Pod>("team-a", "elmo-0").await;
        site.is_stopped("elmo", false).await;
        browser.wait_text("#nb-team-a_elmo .state", "Starting", 10).await;
        site.pod("team-a", "elmo", old.ip(), |_| ()).await;
        browser.wait_text("#nb-team-a_elmo .state", "Needs a restart", 10).await;
        browser.click("#restart-nb-team-a_elmo").await;
        site.is_stopped("elmo", true).await;
        site.cluster.delete::<Pod>("team-a", "elmo-0").await;
        site.is_stopped("elmo", false).await;
        site.pod("team-a", "elmo", old.ip(), mounted).await;
        browser.wait_text("#nb-team-a_elmo .state", "Running", 20).await;
        browser.wait_count("#summary form", 0).await;

        let asked = site.store().list_audit(50).await.unwrap();
        let asked = asked.iter().filter(|event| event.person.as_deref() == Some("bob@example.com"));
        let mut events: Vec<&str> = asked.map(|event| event.event.as_str()).collect();
        events.sort_unstable();
        let (start, stop) = ("notebook-started", "notebook-stopped");
        assert_eq!(events, [start, start, start, stop, stop, stop]);
        assert_eq!(browser.console().await, [""; 0]);
    }
    on_both_here(story);
}
