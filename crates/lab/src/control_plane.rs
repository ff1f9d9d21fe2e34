//! The small size: etcd and an API server on free ports of loopback, ready in seconds, several at once.
//!
//! No Pod ever runs there: tests write Pods and their status themselves.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::kubernetes::Binaries;
use crate::pki::Authority;
use crate::process::{self, Process};
use crate::{apiserver, crds, paths, state};

/// What the API server's process is called.
const SERVER: &str = "kube-apiserver";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running etcd and API server; dropping it ends both and removes their state.
#[derive(Debug)]
pub struct ControlPlane {
    /// The kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    dir: PathBuf,
    kept: bool,
    server: Command,
}

impl ControlPlane {
    /// Starts one on free ports, with the CRDs installed. First removes what a crashed caller left.
    ///
    /// Fails with the log's end when etcd or the API server ends, or is not ready in 60 s.
    pub async fn start() -> Result<Self> {
        remove_abandoned()?;
        let binaries = tokio::task::spawn_blocking(Binaries::find_or_build).await.context("finding Kubernetes")??;
        // Another process may take a port between looking and listening: then look again.
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::try_start(&binaries, None).await {
                Err(error) if tries < 3 && format!("{error:#}").contains("address already in use") => {}
                result => return result,
            }
        }
    }

    /// As [`ControlPlane::start`], with the API server on `port`: an error says so when it is taken.
    pub async fn start_on(port: u16) -> Result<Self> {
        remove_abandoned()?;
        let binaries = tokio::task::spawn_blocking(Binaries::find_or_build).await.context("finding Kubernetes")??;
        Self::try_start(&binaries, Some(port)).await
    }

    /// Lets it run on after this value and this process are gone, until [`remove_all`].
    pub fn keep(mut self) -> Result<PathBuf> {
        self.kept = true;
        fs::write(self.dir.join("owner"), "kept").context("marking the control plane as kept")?;
        Ok(self.kubeconfig.clone())
    }

    /// A client with an administrator's rights.
    pub async fn client(&self) -> Result<kube::Client> {
        apiserver::client(&self.kubeconfig).await
    }

    /// Stops the API server where it is, or lets it go on: connections stay open and nothing answers.
    pub fn signal_server(&self, signal: Signal) -> Result<()> {
        self.server()?.signal(signal);
        Ok(())
    }

    /// Ends the API server and leaves etcd, until [`ControlPlane::start_server`].
    pub fn stop_server(&self) -> Result<()> {
        let server = self.server()?;
        server.signal(Signal::KILL);
        while server.alive() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Starts the API server again, at the same address and with the same data.
    pub async fn start_server(&self) -> Result<()> {
        let server = Process::start(&self.dir, SERVER, &self.server)?;
        apiserver::ready(&self.client().await?, &[server], Duration::from_mins(1)).await
    }

    fn server(&self) -> Result<Process> {
        let mut all = Process::of(&self.dir).into_iter();
        all.find(|process| process.name == SERVER).context("there is no API server")
    }

    async fn try_start(binaries: &Binaries, port: Option<u16>) -> Result<Self> {
        let [etcd_port, peer_port, free] = apiserver::free_ports()?;
        let port = port.unwrap_or(free);
        std::net::TcpListener::bind(("127.0.0.1", port))
            .with_context(|| format!("port {port} of loopback is taken\nhint: leave --port away for a free one"))?;
        let unique = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let planes = paths::control_planes()?;
        state::make_private(&planes)?;
        let dir = planes.join(unique);
        fs::create_dir_all(&dir).with_context(|| format!("making `{}`", dir.display()))?;
        fs::write(dir.join("owner"), process::own_identity()).context("writing who owns the control plane")?;
        let server = format!("https://127.0.0.1:{port}");
        let authority = Authority::create(&dir.join("pki"))?;
        authority.issue("apiserver", "kube-apiserver", None, &["localhost", "kubernetes.default.svc", "127.0.0.1"])?;
        let kubeconfig = authority.kubeconfig("admin", "admin", Some("system:masters"), &server)?;
        let loopback = std::net::Ipv4Addr::LOCALHOST.into();
        let mut command = apiserver::apiserver(binaries, &dir, etcd_port, loopback, port);
        // Loopback is no address for a Service's endpoint, and nobody makes ServiceAccounts here.
        command.args(["--endpoint-reconciler-type=none", "--disable-admission-plugins=ServiceAccount"]);
        let plane = Self { kubeconfig, dir: dir.clone(), kept: false, server: command };

        let etcd = Process::start(&dir, "etcd", &apiserver::etcd(binaries, &dir, etcd_port, peer_port))?;
        let server = Process::start(&dir, SERVER, &plane.server)?;
        let client = plane.client().await?;
        apiserver::ready(&client, &[etcd, server], Duration::from_mins(1)).await?;
        crds::install(&client).await?;
        Ok(plane)
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = remove(&self.dir)
        {
            tracing::warn!("leaving a control plane behind: {error:#}");
        }
    }
}

/// The state folders of all control planes, and whether each one's owner still lives.
///
/// Fails when others can write to the folder they are in: what they say there cannot be believed.
pub fn list() -> Result<Vec<(PathBuf, bool)>> {
    let planes = paths::control_planes()?;
    if !planes.exists() {
        return Ok(Vec::new());
    }
    state::refuse_open(&planes)?;
    let folders = fs::read_dir(&planes).with_context(|| format!("reading `{}`", planes.display()))?;
    Ok(folders.flatten().map(|entry| entry.path()).map(|dir| (dir.clone(), owned(&dir))).collect())
}

/// Ends every control plane whose owner is gone, and the kept ones; refuses none. Returns how many there were.
pub fn remove_all() -> Result<usize> {
    let mut count = 0;
    for (dir, owned) in list()? {
        if !owned || is_kept(&dir) {
            remove(&dir)?;
            count += 1;
        }
    }
    // Stays while one is left; and while somebody starts one, whose folder is then made again.
    let _ = fs::remove_dir(paths::control_planes()?);
    Ok(count)
}

fn remove_abandoned() -> Result<()> {
    for (dir, owned) in list()? {
        if !owned {
            remove(&dir)?;
        }
    }
    Ok(())
}

fn owned(dir: &Path) -> bool {
    // A folder is made before its owner is written: only its age tells an abandoned one from a new one.
    let young = || fs::metadata(dir).and_then(|meta| meta.modified()).ok().and_then(|time| time.elapsed().ok());
    match fs::read_to_string(dir.join("owner")) {
        Ok(owner) => owner == "kept" || process::identity_alive(&owner),
        Err(_) => young().is_some_and(|age| age < Duration::from_mins(1)),
    }
}

fn is_kept(dir: &Path) -> bool {
    fs::read_to_string(dir.join("owner")).is_ok_and(|owner| owner == "kept")
}

fn remove(dir: &Path) -> Result<()> {
    process::stop_all(dir, Duration::from_millis(1500));
    if let Some(process) = Process::of(dir).iter().find(|process| process.alive()) {
        bail!("`{}` (pid {}) does not end", process.name, process.pid);
    }
    // Whoever starts at the same moment clears up the same folder.
    while dir.exists() {
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing `{}`", dir.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_may_remove_the_same_control_plane_at_once() {
        let home = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let dir = home.path().join(format!("{round}-0"));
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("owner"), "1 1").unwrap();
            std::thread::scope(|scope| {
                let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| remove(&dir))).collect();
                for caller in callers {
                    caller.join().unwrap().unwrap();
                }
            });
            assert!(!dir.exists());
        }
    }
}
