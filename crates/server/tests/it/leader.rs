//! Two operators as programs, of which one leads; and a gateway beside them that may read no Secret.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fairlead_lab::apiserver::free_ports;
use fairlead_server::lease::LIMIT;
use fairlead_server::settings::Part;
use k8s_openapi::api::core::v1::Secret;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cluster::{Cluster, SYSTEM, eventually};
use crate::databases::Database;
use crate::gateway_person::Client;
use crate::postgres::Postgres;

/// A process of the server, killed with this value.
struct Program {
    child: Child,
    metrics: SocketAddr,
}

impl Program {
    fn start(cluster: &Cluster, kubeconfig: &Path, name: &str, words: &[&str]) -> Self {
        let [metrics] = free_ports().unwrap().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.args(["serve", "--metrics-listen", &metrics.to_string()]).args(words);
        command.env("FAIRLEAD_KUBECONFIG", kubeconfig).env("FAIRLEAD_DATABASE", cluster.url());
        command.env("FAIRLEAD_POD_NAME", name);
        Self { child: command.spawn().unwrap(), metrics }
    }

    fn operator(cluster: &Cluster, name: &str) -> Self {
        let words = ["--parts", "operator,webhook", "--webhook-listen", "127.0.0.1:0"];
        Self::start(cluster, &cluster.plane.kubeconfig, name, &words)
    }

    /// What it answers by HTTP; nothing while it does not listen.
    async fn says(&self, path: &str) -> String {
        let mut said = String::new();
        if let Ok(mut stream) = TcpStream::connect(self.metrics).await {
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
            // One that is killed meanwhile has said nothing.
            let _ = stream.read_to_string(&mut said).await;
        }
        said
    }

    async fn is_ready(&self) -> bool {
        self.says("/readyz").await.starts_with("HTTP/1.0 200")
    }

    async fn leads(&self) -> bool {
        self.says("/metrics").await.contains("fairlead_leader 1\n")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap(), signal).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn on_postgres() -> Cluster {
    let cluster = Cluster::on(Database::postgres(Postgres::shared()).await).await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_followed_within_five_seconds_and_one_that_ends_at_once() {
    let cluster = on_postgres().await;
    let mut waiting = vec![Program::operator(&cluster, "one"), Program::operator(&cluster, "two")];
    let mut took = BTreeMap::new();
    for (round, signal) in [("killed", Signal::KILL), ("ended", Signal::TERM)] {
        for program in &waiting {
            eventually("both are ready", async || program.is_ready().await.then_some(())).await;
        }
        let leader = eventually("a leader", async || {
            let leads = [waiting[0].leads().await, waiting[1].leads().await];
            assert_ne!(leads, [true, true]);
            leads.iter().position(|leads| *leads)
        })
        .await;
        let before = format!("before-{round}");
        cluster.notebook("team-a", &before).await;
        eventually("its Secret", async || cluster.secret("team-a", &format!("fairlead-{before}")).await).await;
        let mut leader = waiting.remove(leader);
        let began = Instant::now();
        leader.signal(signal);
        let after = format!("after-{round}");
        cluster.notebook("team-a", &after).await;
        eventually("its Secret", async || cluster.secret("team-a", &format!("fairlead-{after}")).await).await;
        took.insert(round, began.elapsed());
        assert!(waiting[0].leads().await);
        assert_eq!(leader.child.wait().unwrap().success(), round == "ended");
        waiting.push(Program::operator(&cluster, round));
    }
    println!("from the signal to a new Notebook's Secret: {took:?}");
    assert!(took["killed"] < Duration::from_secs(5), "{took:?}");
    assert!(took["ended"] < LIMIT, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_frozen_finds_itself_followed_and_ends_nothing() {
    let cluster = on_postgres().await;
    let one = Program::operator(&cluster, "one");
    eventually("it leads", async || (one.leads().await && one.is_ready().await).then_some(())).await;
    let two = Program::operator(&cluster, "two");
    eventually("it is ready", async || two.is_ready().await.then_some(())).await;
    one.signal(Signal::STOP);
    eventually("the other leads", async || two.leads().await.then_some(())).await;
    one.signal(Signal::CONT);
    eventually("it leads no more", async || (!one.leads().await).then_some(())).await;
    assert!(two.leads().await);
    assert!(one.is_ready().await, "{}", one.says("/readyz").await);
}

/// A kubeconfig of somebody who may do what gateways need.
async fn front(cluster: &Cluster, dir: &Path) -> PathBuf {
    let user = cluster.grant_to("fairlead-front", &[Part::Gateway]).await;
    let text = std::fs::read_to_string(&cluster.plane.kubeconfig).unwrap();
    let mut config: Value = serde_saphyr::from_str(&text).unwrap();
    config["users"][0]["user"]["as"] = user.into();
    let path = dir.join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// As the kubelet brings a changed Secret into a Pod.
fn mount(dir: &Path, secret: &Secret, version: &str) {
    let at = dir.join(format!("..{version}"));
    std::fs::create_dir_all(&at).unwrap();
    for (name, bytes) in secret.data.as_ref().unwrap() {
        std::fs::write(at.join(name), &bytes.0).unwrap();
    }
    symlink(format!("..{version}"), dir.join("..new")).unwrap();
    std::fs::rename(dir.join("..new"), dir.join("..data")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_may_read_no_secret_serves_by_what_the_leader_wrote() {
    let cluster = on_postgres().await;
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = front(&cluster, dir.path()).await;
    let files = dir.path().join("gateway");
    std::fs::create_dir(&files).unwrap();
    let [port] = free_ports().unwrap();
    let gateway = SocketAddr::from(([127, 0, 0, 1], port));
    let words = ["--parts", "gateway", "--gateway-identity-files", files.to_str().unwrap(), "--gateway-listen"];
    let front = Program::start(&cluster, &kubeconfig, "front", &[&words[..], &[&gateway.to_string()]].concat());
    eventually("it says what it waits for", async || {
        let said = front.says("/readyz").await;
        (said.contains(" 503 ") && said.contains("identity: ") && said.contains("`ssh_host_ed25519_key` is not there"))
            .then_some(())
    })
    .await;

    let operator = Program::operator(&cluster, "one");
    let secret = eventually("the Secret", async || cluster.secret(SYSTEM, "fairlead-gateway").await).await;
    assert!(operator.leads().await && !front.leads().await);
    mount(&files, &secret, "first");
    eventually("it is ready", async || front.is_ready().await.then_some(())).await;
    let authority = String::from_utf8(secret.data.unwrap()["authorities"].0.clone()).unwrap();
    // The host certificate is believed: ssh comes as far as the key, which nobody knows.
    let stranger = Client::new("stranger", "ed25519", gateway, authority.trim());
    stranger.gets_into("any.team-a.notebook").await.is_refused("Permission denied (publickey)");
    let other = fairlead_model::identity::Authority::generate(&[3; 32]).unwrap();
    let other = fairlead_model::identity::Authority::from_openssh(&other).unwrap();
    let doubter = Client::new("doubter", "ed25519", gateway, &other.public_line());
    doubter.gets_into("any.team-a.notebook").await.is_refused("Host key verification failed");
}
