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

use crate::apiserver;
use crate::process::{self, Process};

/// What the page takes for its ingress.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NAMESPACE: &str = "fairlead-bench";
/// Ticks in a second in `/proc/PID/stat`: 100 on every Linux, whatever the kernel's own clock is (`USER_HZ`).
const TICKS: f64 = 100.0;

/// A running server with the part `page` alone; dropping it ends it.
pub(super) struct Running {
    pub(super) page: SocketAddr,
    process: Process,
    folder: PathBuf,
}

/// Lets the operator make the host CA, and ends it: it would look for an sshd in each Pod, and there are none.
pub(super) async fn make_identity(server: &Path, kubeconfig: &Path, folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("clearing the state"),
        _ => fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?,
    }
    let client = apiserver::client(kubeconfig).await?;
    let namespace = json!({"metadata": {"name": NAMESPACE}});
    let namespace: Namespace = serde_json::from_value(namespace).context("writing a namespace")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.context("creating Fairlead's namespace")?;
    let (operator, _) = start(server, kubeconfig, folder, "operator")?;
    let secrets: Api<Secret> = Api::namespaced(client, NAMESPACE);
    let began = Instant::now();
    while secrets.get_opt("fairlead-identity").await.context("looking for the identity")?.is_none() {
        operator.must_live()?;
        if began.elapsed() > Duration::from_mins(1) {
            bail!("the operator made no identity in a minute");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    process::stop_all(folder, Duration::from_secs(20));
    Ok(())
}

fn start(server: &Path, kubeconfig: &Path, folder: &Path, parts: &str) -> Result<(Process, SocketAddr)> {
    let [page, metrics] = apiserver::free_ports()?;
    let page = SocketAddr::from(([127, 0, 0, 1], page));
    let mut command = Command::new(server);
    command.args(["serve", "--parts", parts, "--namespace", NAMESPACE, "--gateway-address", "ssh.example.com"]);
    command.arg("--kubeconfig").arg(kubeconfig);
    command.arg("--database").arg(format!("sqlite:{}", folder.join("fairlead.db").display()));
    command.arg(format!("--metrics-listen=127.0.0.1:{metrics}")).arg(format!("--page-listen={page}"));
    command.env("FAIRLEAD_PAGE_INGRESS_SECRET", SECRET);
    Ok((Process::start(folder, "fairlead-server", &command)?, page))
}

impl Running {
    /// Starts it; whoever visits waits until it answers.
    pub(super) async fn start(server: &Path, kubeconfig: &Path, folder: &Path) -> Result<Self> {
        let (process, page) = start(server, kubeconfig, folder, "page")?;
        let began = Instant::now();
        while tokio::net::TcpStream::connect(page).await.is_err() {
            process.must_live()?;
            if began.elapsed() > Duration::from_mins(1) {
                bail!("the page does not listen after a minute");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { page, process, folder: folder.to_owned() })
    }

    /// Its share of the memory that is mapped.
    pub(super) fn pss_kib(&self) -> f64 {
        f64::from(super::super::pss_kib(self.process.pid))
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

impl Drop for Running {
    fn drop(&mut self) {
        process::stop_all(&self.folder, Duration::from_secs(5));
    }
}
