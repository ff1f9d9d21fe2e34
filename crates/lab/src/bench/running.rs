//! The server under test, as a process of its own on SQLite and on loopback.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::apiserver;
use crate::process::{self, Process};

/// What the page takes for its ingress.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(super) const NAMESPACE: &str = "fairlead-bench";
/// Ticks in a second in `/proc/PID/stat`: 100 on every Linux, whatever the kernel's own clock is (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A running server; dropping it ends it.
pub(super) struct Running {
    /// Where its page listens, if it has one.
    pub(super) page: SocketAddr,
    metrics: SocketAddr,
    process: Process,
    folder: PathBuf,
}

/// Lets the operator make the host CA, and ends it: it would look for an sshd in each Pod, and there are none.
pub(super) async fn make_identity(server: &Path, kubeconfig: &Path, folder: &Path) -> Result<()> {
    clear(folder)?;
    let client = apiserver::client(kubeconfig).await?;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    let namespace: Namespace = serde_json::from_value(namespace).context("writing a namespace")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.context("creating Fairlead's namespace")?;
    let operator = start(server, kubeconfig, folder, "operator", &[])?;
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let began = Instant::now();
    while secrets.get_opt("fairlead-identity").await.context("looking for the identity")?.is_none() {
        operator.process.must_live()?;
        if began.elapsed() > Duration::from_mins(1) {
            bail!("the operator made no identity in a minute");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drop(operator);
    Ok(())
}

/// Empties a folder of state.
pub(super) fn clear(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("clearing the state"),
        _ => fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display())),
    }
}

/// Fairlead's database below a folder of state.
pub(super) fn database(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("fairlead.db").display())
}

fn start(server: &Path, kubeconfig: &Path, folder: &Path, parts: &str, more: &[(&str, String)]) -> Result<Running> {
    let [page, metrics] = apiserver::free_ports()?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], metrics));
    let page = SocketAddr::from(([127, 0, 0, 1], page));
    let mut command = Command::new(server);
    command.args(["serve", "--parts", parts, "--namespace", NAMESPACE, "--gateway-address", "ssh.example.com"]);
    command.arg("--kubeconfig").arg(kubeconfig);
    command.arg("--database").arg(database(folder));
    command.arg(format!("--metrics-listen={metrics}")).arg(format!("--page-listen={page}"));
    command.env("FAIRLEAD_PAGE_INGRESS_SECRET", SECRET).envs(more.iter().map(|(name, value)| (name, value)));
    let process = Process::start(folder, "fairlead-server", &command)?;
    Ok(Running { page, metrics, process, folder: folder.to_owned() })
}

impl Running {
    /// Starts the part `operator` alone, and waits for nothing.
    pub(super) fn start_operator(server: &Path, kubeconfig: &Path, folder: &Path, resync: Duration) -> Result<Self> {
        let resync = ("FAIRLEAD_RESYNC_SECONDS", resync.as_secs().to_string());
        start(server, kubeconfig, folder, "operator", &[resync])
    }

    /// Starts the page alone; whoever visits waits until it answers.
    pub(super) async fn start_page(server: &Path, kubeconfig: &Path, folder: &Path) -> Result<Self> {
        let running = start(server, kubeconfig, folder, "page", &[])?;
        let began = Instant::now();
        while tokio::net::TcpStream::connect(running.page).await.is_err() {
            running.process.must_live()?;
            if began.elapsed() > Duration::from_mins(1) {
                bail!("the page does not listen after a minute");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(running)
    }

    /// Its share of the memory that is mapped.
    pub(super) fn pss_kib(&self) -> f64 {
        f64::from(super::pss_kib(self.process.pid))
    }

    /// What it has used of processors since it began: fields 14 and 15 of its `stat`.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        self.process.must_live()?;
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.process.pid)).context("reading the server's CPU")?;
        let after_name = text.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / TICKS)
    }

    /// In percent of a core, what it used since it had used `before`, which was `ago`.
    pub(super) fn load(&self, before: f64, ago: Duration) -> Result<f64> {
        Ok((self.cpu_seconds()? - before) / ago.as_secs_f64() * 100.0)
    }
}

impl Running {
    /// The largest part of memory that it ever had, in KiB.
    pub(super) fn peak_kib(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0.0)
    }

    /// The sum of one of its metrics over all labels; zero while it does not answer.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let Ok(mut stream) = tokio::net::TcpStream::connect(self.metrics).await else { return 0.0 };
        let mut text = String::new();
        let asked = stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n").await;
        if asked.is_err() || stream.read_to_string(&mut text).await.is_err() {
            return 0.0;
        }
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
        values.filter_map(|value| value.parse::<f64>().ok()).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        process::stop_all(&self.folder, Duration::from_secs(20));
    }
}
