//! Alerts and dashboard of `deploy/monitoring`: real Prometheus reads and tries them, and what they ask for is there.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use fairlead_lab::paths;
use fairlead_server::web::{self, Direction, Metrics, Outcome};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::web::get;

/// What others measure: the cluster's state, by kube-state-metrics.
const OTHERS: [&str; 1] = ["kube_deployment_status_replicas_available"];
/// Labels that the PodMonitor and histograms bring.
const GIVEN: [&str; 2] = ["pod", "le"];

fn read(path: &str) -> String {
    std::fs::read_to_string(paths::project().join(path)).unwrap()
}

/// The rules as Prometheus itself reads them.
fn rules() -> Value {
    let rule: Value = serde_saphyr::from_str(&read("deploy/monitoring/rules.yaml")).unwrap();
    rule["spec"].clone()
}

fn alerts() -> Vec<Value> {
    rules()["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("deploy/monitoring/fairlead.json")).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// What the panels ask, with Grafana's variable as Grafana fills it in.
fn queries() -> Vec<String> {
    let targets = dashboard()["panels"].as_array().unwrap().clone();
    let targets = targets.iter().flat_map(|panel| panel["targets"].as_array().unwrap().clone());
    targets.map(|target| text(&target["expr"]).replace("$__rate_interval", "2m")).collect()
}

/// Prometheus' word on a file of rules.
fn promtool(words: &[&str], folder: &Path) {
    let output = Command::new("promtool").args(words).current_dir(folder).output();
    let output = output.expect("promtool is there, by lab/setup");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "promtool {words:?}: {said}");
}

#[test]
fn prometheus_takes_the_rules_and_every_query_and_each_alert_comes_when_it_should() {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, content: &str| std::fs::write(dir.path().join(name), content).unwrap();
    put("rules.yaml", &rules().to_string());
    promtool(&["check", "rules", "rules.yaml"], dir.path());
    let record = |(index, query): (usize, &String)| json!({"record": format!("panel:{index}"), "expr": query});
    let records: Vec<_> = queries().iter().enumerate().map(record).collect();
    put("queries.yaml", &json!({"groups": [{"name": "panels", "rules": records}]}).to_string());
    promtool(&["check", "rules", "queries.yaml"], dir.path());
    let tries = read("crates/server/tests/it/monitoring/tries.yaml");
    put("tries.yaml", &tries);
    promtool(&["test", "rules", "tries.yaml"], dir.path());
    for alert in alerts() {
        let name = text(&alert["alert"]);
        assert!(tries.contains(&format!("alertname: {name}\n")), "tries.yaml does not try `{name}`");
    }
}

#[tokio::test]
async fn what_alerts_and_panels_ask_for_is_served() {
    let metrics = Arc::new(Metrics::new());
    for family in [&metrics.sessions, &metrics.signins, &metrics.sessions_ended, &metrics.requests_refused] {
        family.get_or_create(&Outcome { outcome: "any" }).inc();
    }
    metrics.secret_writes.get_or_create(&Outcome { outcome: "any" }).inc();
    metrics.session_bytes.get_or_create(&Direction { direction: "up" }).inc();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(listener, Arc::default(), metrics));
    let served = get(address, "/metrics").await;
    let samples: BTreeSet<&str> = served
        .lines()
        .filter(|line| line.starts_with("fairlead_"))
        .filter_map(|line| line.split([' ', '{']).next())
        .collect();

    let asked = alerts().iter().map(|alert| text(&alert["expr"])).chain(queries()).collect::<Vec<_>>().join("\n");
    let words = || asked.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let names: BTreeSet<&str> =
        words().filter(|word| word.starts_with("fairlead_") || word.starts_with("kube_")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(samples.contains(name) || OTHERS.contains(&name), "nobody serves `{name}`");
    }
    // What they sum by is a label of what is served.
    for by in asked.split("by (").skip(1) {
        for label in by.split(')').next().unwrap().split(", ") {
            let there = served.contains(&format!("{label}=\"")) || GIVEN.contains(&label);
            assert!(there, "nothing has the label `{label}`");
        }
    }
    // The words that alerts look for are words that the server uses.
    let source = ["metrics.rs", "gateway/refusal.rs"].map(|file| read(&format!("crates/server/src/{file}"))).concat();
    for words in asked.split("outcome=").skip(1) {
        let words = words.trim_start_matches('~').trim_matches('"').split('"').next().unwrap();
        for word in words.split('|') {
            let used = [format!("`{word}`"), format!("\"{word}\"")].iter().any(|form| source.contains(form));
            assert!(used, "no outcome is called `{word}`");
        }
    }
}

#[test]
fn panels_say_what_they_show_and_alerts_where_to_read_on() {
    for panel in dashboard()["panels"].as_array().unwrap() {
        assert!(!text(&panel["title"]).is_empty() && !text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty());
        assert!(!panel["targets"].as_array().unwrap().is_empty(), "{panel}");
    }
    let docs = read("docs/operations.md");
    for alert in alerts() {
        let name = text(&alert["alert"]);
        let runbook = format!("docs/operations.md#{}", name.to_lowercase());
        assert_eq!(text(&alert["annotations"]["runbook_url"]), runbook);
        assert!(docs.contains(&format!("\n### {name}\n")), "docs/operations.md does not explain `{name}`");
        assert!(!text(&alert["annotations"]["summary"]).is_empty() && alert["labels"]["severity"].is_string());
    }
    let made = Command::new("kubectl").args(["kustomize", "deploy/monitoring"]).current_dir(paths::project()).output();
    let made = made.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let made = String::from_utf8(made.stdout).unwrap();
    for kind in ["ConfigMap", "PodMonitor", "PrometheusRule"] {
        assert!(made.contains(&format!("kind: {kind}\n")), "{made}");
    }
    assert!(made.contains("grafana_dashboard: \"1\""), "{made}");
}
