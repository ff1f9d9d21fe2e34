//! The program itself on a real API server: `serve`, `ca` and `check`.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use fairlead_server::webhook::certificate;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, SYSTEM, eventually};

/// The program with a cluster and a database; it is killed where a test ends before it.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.args(words).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("FAIRLEAD_KUBECONFIG", &cluster.plane.kubeconfig).env("FAIRLEAD_DATABASE", cluster.url());
    command
}

fn serve(cluster: &Cluster, more: &[&str]) -> Program {
    let ports = ["--webhook-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let words = [&["serve", "--parts", "operator,webhook"], ports.as_slice(), more].concat();
    Program(program(cluster, &words).spawn().unwrap())
}

/// Asks it to stop; whether it ended well.
fn stop(mut program: Program) -> bool {
    let pid = Pid::from_raw(i32::try_from(program.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    program.0.wait().unwrap().success()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_says_its_ca_and_checks_itself() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "192.0.2.77").await;

    let mut dry = serve(&cluster, &["--dry-run"]);
    let mut lines = BufReader::new(dry.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "  name: fairlead-ml"), "it prints the Secret");
    assert!(stop(dry), "it ends well when asked to");
    let secrets: Api<Secret> = Api::all(cluster.admin.clone());
    assert!(secrets.list(&ListParams::default()).await.unwrap().items.is_empty(), "a dry run writes nothing");
    let none = program(&cluster, &["ca", "show"]).output().unwrap();
    assert!(!none.status.success() && text(&none).contains("hint: "), "{}", text(&none));

    let server = serve(&cluster, &[]);
    eventually("the Secret", async || cluster.secret("team-a", "fairlead-ml").await).await;
    eventually("the certificate", async || cluster.secret(SYSTEM, certificate::SECRET).await).await;
    let shown = text(&program(&cluster, &["ca", "show"]).output().unwrap());
    assert!(shown.contains("@cert-authority *.notebook,fairlead-gateway ssh-ed25519 "), "{shown}");
    let begun = text(&program(&cluster, &["ca", "rotate"]).output().unwrap());
    assert_eq!(begun.matches("@cert-authority").count(), 2, "{begun}");
    let ended = text(&program(&cluster, &["ca", "rotate", "--yes"]).output().unwrap());
    assert_eq!(ended.matches("@cert-authority").count(), 1, "{ended}");

    let checked = program(&cluster, &["check", "team-a/ml"]).output().unwrap();
    assert!(!checked.status.success());
    let findings = text(&checked);
    assert!(findings.contains("FAIL  the webhook's configuration `fairlead` is not there"), "{findings}");
    assert!(findings.contains("ok    the notebook `team-a/ml` is there: `ssh ml.team-a.notebook`"), "{findings}");
    let wrong = text(&program(&cluster, &["check", "nonsense"]).output().unwrap());
    assert!(wrong.contains("hint: kubectl get notebooks -A"), "{wrong}");
    assert!(stop(server), "it ends well when asked to");
}
