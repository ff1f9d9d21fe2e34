//! The page in the cluster: what a person does in a browser reaches notebook, key and session.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::process::Command;

use fairlead_lab::install::{PAGE, ingress_secret};
use fairlead_lab::team;
use serde_json::{Value, json};

use super::stage::{Live, Stage, refusal, within};

/// Asks the page's JSON as the ingress does for somebody.
fn ask(user: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let secret = std::fs::read_to_string(ingress_secret()).unwrap();
    let token = "00112233445566778899aabbccddeeff";
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}", "-X", method, "-d"]);
    curl.arg(body.to_string()).args(["-H", "content-type: application/json"]);
    curl.args(["-H", &format!("kubeflow-userid: {user}"), "-H", &format!("x-fairlead-ingress: {}", secret.trim())]);
    curl.args(["-H", &format!("x-xsrf-token: {token}"), "-b", &format!("XSRF-TOKEN={token}")]);
    let output = curl.arg(format!("http://{PAGE}/fairlead/api/v1{path}")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let (body, status) = said.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_added_on_the_page_opens_the_notebook_once_the_block_has_run() {
    let (stage, alice) = Stage::new("page-key").await;
    stage.notebook("bert").await;
    let host = stage.host("bert");
    stage.let_in(&alice, "bert", 30).await;
    let bob = stage.stranger("bob");
    team::member(&stage.client, &stage.name, &bob.user, fairlead_lab::kubeflow::contributor::Role::Edit).await.unwrap();
    let key = bob.public_key().unwrap();

    let seen = async || {
        (ask(&bob.user, "GET", "/notebooks", &json!({})).1["notebooks"][0]["state"] == "running").then_some(())
    };
    within(10, "bob sees the notebook run", seen).await;
    let (status, added) = ask(&bob.user, "POST", "/keys", &json!({"key": key}));
    assert_eq!(status, 201, "{added}");
    // As the block does it at its end: with that very key.
    let mut confirm = Command::new("ssh");
    alice.configure().await.unwrap();
    let config = std::fs::read_to_string(alice.config()).unwrap().replace("/alice/id_", "/bob/id_");
    std::fs::write(bob.config(), config).unwrap();
    confirm.arg("-F").arg(bob.config()).args(["-l", "confirm", "fairlead-gateway", "confirm"]);
    let confirmed = confirm.arg(added["code"].as_str().unwrap()).output().unwrap();
    assert!(confirmed.status.success(), "{confirmed:?}");
    let into = async || bob.ssh(&host, "true").await.unwrap().ok();
    let took = within(10, "bob gets in with the key", into).await;
    assert!(took.as_secs() < 3, "{took:?}");

    // Removed on the page, which removes none that is the last: out, at once.
    let spare = stage.stranger("spare").public_key().unwrap();
    stage.fairlead.admin(&["keys", "add", &bob.user, "-"], &spare).unwrap();
    let live = Live::open(&bob, &host).await;
    let fingerprint = added["fingerprint"].as_str().unwrap().replace('/', "%2F").replace('+', "%2B");
    let (status, removed) =
        ask("admin@example.com", "DELETE", &format!("/admin/keys/{}/{fingerprint}", bob.user), &json!({}));
    assert!(status < 300, "{status} {removed}");
    let (took, said) = live.ends_within(3).await;
    assert!(took.as_secs() < 3, "{took:?} {said}");
    assert!(refusal(bob.ssh(&host, "true").await.unwrap()).contains("Permission denied (publickey)"));
    alice.ssh(&host, "true").await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_is_stopped_and_started_and_a_session_ended_from_the_page() {
    let (stage, alice) = Stage::new("page-asks").await;
    stage.notebook("bert").await;
    let host = stage.host("bert");
    stage.let_in(&alice, "bert", 30).await;

    let mut other = Live::open(&alice, &host).await;
    let live = Live::open(&alice, &host).await;
    let newest = ask(&alice.user, "GET", "/sessions?live=true", &json!({})).1;
    let session = newest["sessions"][0]["id"].as_str().unwrap().to_owned();
    // Somebody else's session is none of hers.
    assert_eq!(ask("dave@example.com", "POST", &format!("/sessions/{session}/end"), &json!({})).0, 404);
    assert!(ask(&alice.user, "POST", &format!("/sessions/{session}/end"), &json!({})).0 < 300);
    live.ends_within(3).await;
    other.echoes().await;

    let path = format!("/notebooks/{}/bert", stage.name);
    assert_eq!(ask(&alice.user, "POST", &format!("{path}/stop"), &json!({})), (200, json!({"done": true})));
    other.ends_within(3).await;
    stage.refused(&alice, "bert", "the notebook is stopped", 3).await;
    assert_eq!(ask("dave@example.com", "POST", &format!("{path}/start"), &json!({})).0, 404);
    ask(&alice.user, "POST", &format!("{path}/start"), &json!({}));
    stage.let_in(&alice, "bert", 60).await;
}
