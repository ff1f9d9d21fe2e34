//! A site to break things in: an API server, a database, the program itself as often as wished, a real sshd for each
//! notebook, and people with the stock `ssh`.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use fairlead_lab::apiserver::free_ports;
use fairlead_model::identity::HostIdentity;
use tempfile::TempDir;

use crate::browser_site::mail;
use crate::cluster::{Cluster, eventually, mounted, who};
use crate::databases::Database;
use crate::fault_server::{Server, lines_with};
use crate::gateway_bed::Sshd;
use crate::gateway_person::Client;

/// alice owns team-a, and bob edits there.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    pub(crate) dir: TempDir,
}

impl Site {
    pub(crate) async fn start(database: Database) -> Self {
        let cluster = Cluster::on(database).await;
        cluster.profile("team-a", &mail("alice")).await;
        cluster.contributor("team-a", "user-bob", &mail("bob"), "edit").await;
        Self { cluster, dir: tempfile::tempdir().unwrap() }
    }

    /// Starts some parts; the operator's process makes the host CA.
    pub(crate) fn serve(&self, parts: &str) -> Server {
        self.serve_with(parts, |_| {})
    }

    /// The same with something about it changed.
    pub(crate) fn serve_with(&self, parts: &str, change: impl FnOnce(&mut Command)) -> Server {
        let [gateway, metrics] = free_ports().unwrap().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let log = self.dir.path().join(format!("server-{}.log", gateway.port()));
        let output = File::create(&log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
        command.env_clear().stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        command.args(["serve", "--parts", parts, "--gateway-listen", &gateway.to_string()]);
        command.args(["--metrics-listen", &metrics.to_string(), "--gateway-address", &gateway.to_string()]);
        command.env("FAIRLEAD_KUBECONFIG", &self.cluster.plane.kubeconfig);
        command.env("FAIRLEAD_DATABASE", self.cluster.url());
        change(&mut command);
        Server { gateway, log, child: command.spawn().unwrap() }
    }

    /// A notebook of team-a whose sshd has the identity that the operator wrote: one has to run.
    pub(crate) async fn notebook(&self, name: &str) -> Sshd {
        let uid = self.cluster.notebook("team-a", name).await;
        let secret = eventually("the notebook's Secret", async || self.secret(name).await).await;
        let identity = HostIdentity {
            private: secret["ssh_host_ed25519_key"].clone(),
            public: secret["ssh_host_ed25519_key.pub"].clone(),
            certificate: secret["ssh_host_ed25519_key-cert.pub"].clone(),
        };
        let sshd = Sshd::start(self.dir.path(), name, &identity);
        let set = self.cluster.stateful_set("team-a", name, &uid).await;
        self.cluster.pod("team-a", &format!("{name}-0"), name, Some(&set), &sshd.ip.to_string(), mounted).await;
        sshd
    }

    /// The files of a notebook's Secret.
    pub(crate) async fn secret(&self, name: &str) -> Option<BTreeMap<String, String>> {
        let data = self.cluster.secret("team-a", &format!("fairlead-{name}")).await?.data?;
        Some(data.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes.0).unwrap())).collect())
    }

    /// How many keys open a notebook, by its Secret.
    pub(crate) async fn keys_in(&self, name: &str) -> usize {
        self.secret(name)
            .await
            .map_or(0, |files| files["authorized_keys"].lines().filter(|line| line.starts_with("ssh-")).count())
    }

    /// Somebody who goes through this gateway, and whose key nobody knows.
    pub(crate) async fn stranger(&self, name: &str, server: &Server) -> Client {
        let authority = eventually("the host CA", async || self.cluster.store.authority().await.unwrap()).await;
        Client::new(name, "ed25519", server.gateway, &authority)
    }

    /// The same with a confirmed key.
    pub(crate) async fn person(&self, name: &str, server: &Server) -> Client {
        let client = self.stranger(name, server).await;
        self.cluster
            .store
            .add_key(&who(&mail(name)), &client.public(), "", fairlead_server::clock::now())
            .await
            .unwrap();
        client
    }

    /// Waits until somebody gets in, which takes until the gateway has heard of notebook and key.
    pub(crate) async fn opens(&self, client: &Client, notebook: &str) {
        let host = format!("{notebook}.team-a.notebook");
        eventually(&host, async || (client.gets_into(&host).await.code == Some(0)).then_some(())).await;
    }

    /// Sessions as the database has them, oldest first: id and reason of the end, where it has one.
    pub(crate) async fn sessions(&self) -> Vec<(String, Option<String>)> {
        let mut all = self.cluster.store.list_sessions(None, 10_000).await.unwrap();
        all.reverse();
        all.into_iter().map(|(begin, end)| (begin.id, end.map(|end| end.reason))).collect()
    }

    /// Waits until every session that a gateway has in its log is written down with begin and end, and no other.
    pub(crate) async fn has_recorded_all_of(&self, server: &Server) {
        let mut seen = Vec::new();
        let mut told = 0;
        let waiting = eventually("all sessions in the database", async || {
            seen = self.sessions().await;
            told = lines_with(&server.says(), "session begins");
            let ended = lines_with(&server.says(), "session ends");
            (seen.len() >= told && ended == told && seen.iter().all(|(_, end)| end.is_some())).then_some(())
        });
        waiting.await;
        let ids: BTreeSet<&String> = seen.iter().map(|(id, _)| id).collect();
        assert_eq!((seen.len(), ids.len()), (told, told), "{seen:?}");
    }

    /// Waits until so many sessions are written down, `open` of them without an end, none twice.
    pub(crate) async fn has_recorded(&self, count: usize, open: usize) {
        let mut seen = Vec::new();
        let waiting = eventually("all sessions in the database", async || {
            seen = self.sessions().await;
            let without = seen.iter().filter(|(_, end)| end.is_none()).count();
            (seen.len() >= count && without == open).then_some(())
        });
        waiting.await;
        let ids: BTreeSet<&String> = seen.iter().map(|(id, _)| id).collect();
        assert_eq!((seen.len(), ids.len()), (count, count), "{seen:?}");
    }
}
