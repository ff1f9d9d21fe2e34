//! The large size: one node with real Pods, one at a time on a machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node as NodeObject, ServiceAccount};
use kube::{Api, Client};

use crate::ingress::kept;
use crate::kubernetes::Binaries;
use crate::node::{self, Node};
use crate::pki::Authority;
use crate::process::{self, Process};
use crate::{apiserver, cgroups, components, crds, images, paths, postgres, state};

/// The node's name.
pub const NODE_NAME: &str = "lab-node";
/// Where the API server listens, on the node's address.
pub const API_PORT: u16 = 16443;

/// The running cluster. It stays up when this value is dropped: [`down`] ends it.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// The kubeconfig of a cluster administrator.
    pub kubeconfig: PathBuf,
    dir: PathBuf,
}

impl Cluster {
    /// The running cluster, started first when there is none, with the images as they are now.
    ///
    /// Callers in other processes wait for each other.
    pub async fn shared() -> Result<Self> {
        paths::require_root("a cluster")?;
        let _lock = tokio::task::spawn_blocking(lock).await.context("waiting for the lab's lock")??;
        if let Some(running) = Self::running() {
            running.import(&build_images().await?)?;
            return Ok(running);
        }
        state::refuse_foreign(&paths::cluster())?;
        if paths::cluster().exists() {
            tracing::info!("removing what an earlier cluster left");
            tokio::task::spawn_blocking(|| remove(&paths::cluster())).await.context("removing a dead cluster")??;
        }
        let result = Self::start().await;
        if result.is_err() {
            // The error is the one to report; a failed clean-up shows again at the next `down`.
            let _ = tokio::task::spawn_blocking(|| remove(&paths::cluster())).await;
        }
        result
    }

    /// The cluster that runs now, if every process of it does and the host reaches it.
    #[must_use]
    pub fn running() -> Option<Self> {
        let dir = paths::cluster();
        let all = Process::of(&dir);
        let up = dir.join("up").exists() && node::is_connected() && !all.is_empty() && all.iter().all(Process::alive);
        up.then(|| Self { kubeconfig: dir.join("pki/admin.kubeconfig"), dir })
    }

    /// A client with an administrator's rights.
    pub async fn client(&self) -> Result<Client> {
        apiserver::client(&self.kubeconfig).await
    }

    /// A client with another user's rights, such as `system:serviceaccount:NAMESPACE:NAME`.
    pub async fn client_as(&self, user: &str) -> Result<Client> {
        apiserver::client_as(&self.kubeconfig, Some(user)).await
    }

    /// Makes images known to the node. What it has already is left alone.
    pub fn import(&self, images: &[images::Image]) -> Result<()> {
        let done = self.dir.join("imported");
        fs::create_dir_all(&done).with_context(|| format!("making `{}`", done.display()))?;
        for image in images {
            let mark = done.join(image.name);
            if fs::read_to_string(&mark).is_ok_and(|hash| hash == image.hash) {
                continue;
            }
            components::import(&self.node()?, &self.dir, &image.archive)?;
            fs::write(&mark, &image.hash).with_context(|| format!("writing `{}`", mark.display()))?;
        }
        Ok(())
    }

    /// The namespaces that the cluster runs in, for tests that look at the node from inside.
    pub fn node(&self) -> Result<Node> {
        Node::of(&self.dir).context("the cluster is not running\nhint: make lab-up")
    }

    async fn start() -> Result<Self> {
        let binaries = tokio::task::spawn_blocking(Binaries::find_or_build).await.context("finding Kubernetes")??;
        let began = Instant::now();
        let say = |what: &str| tracing::info!("{:>5.1} s  {what}", began.elapsed().as_secs_f32());
        let dir = paths::cluster();
        state::make(&dir)?;
        let images = build_images().await?;

        say("namespaces, certificates and configuration");
        let node = Node::create(&dir)?;
        cgroups::create(&dir)?;
        let kubeconfig = certificates(&dir)?;
        components::configure(&dir, &binaries)?;
        let cluster = Self { kubeconfig, dir: dir.clone() };

        say(&format!("etcd, API server 1.{}, containerd", binaries.minor));
        let start = |name: &str, command: &Command| Process::start(&dir, name, &node.inside(command));
        let containerd = start("containerd", &components::containerd(&dir))?;
        let etcd = start("etcd", &apiserver::etcd(&binaries, &dir, 2379, 2380))?;
        let mut command = apiserver::apiserver(&binaries, &dir, 2379, node::ADDRESS.into(), API_PORT);
        command.args(components::apiserver_flags(&dir, &binaries));
        let server = start("kube-apiserver", &command)?;
        let client = cluster.client().await?;
        apiserver::ready(&client, &[etcd, server], Duration::from_secs(90)).await?;

        say("controllers, scheduler, kubelet, the stand-in for Kubeflow");
        // Before the controller manager: its garbage collector looks for new kinds only every half minute.
        crds::install(&client).await?;
        start("kube-controller-manager", &components::controller_manager(&dir, &binaries))?;
        start("kube-scheduler", &components::scheduler(&dir, &binaries))?;
        components::wait_for_containerd(&node, &dir, &containerd)?;
        let kubelet = start("kubelet", &components::kubelet(&dir, &binaries))?;
        if binaries.has_proxy() {
            components::bind_proxy_role(&client).await?;
            start("kube-proxy", &components::proxy(&dir, &binaries))?;
        } else {
            Process::start(&dir, "service-map", &own_command("service-map", &cluster.kubeconfig)?)?;
        }
        Process::start(&dir, "kubeflow", &own_command("kubeflow", &cluster.kubeconfig)?)?;

        say("images");
        cluster.import(&images)?;
        wait_until_ready(&client, &dir, &kubelet).await?;
        fs::write(dir.join("up"), "").context("marking the cluster as up")?;
        say("the node is ready");
        Ok(cluster)
    }
}

async fn build_images() -> Result<Vec<images::Image>> {
    tokio::task::spawn_blocking(images::build).await.context("building images")?
}

/// Ends the cluster and removes everything of it, also what a crash left. Returns whether there was anything.
pub fn down() -> Result<bool> {
    let dir = paths::cluster();
    if !dir.exists() {
        return Ok(false);
    }
    paths::require_root("ending the cluster")?;
    let _lock = lock()?;
    remove(&dir)?;
    Ok(true)
}

fn remove(dir: &Path) -> Result<()> {
    state::refuse_foreign(dir)?;
    let _ = fs::remove_file(dir.join("up"));
    kept::end(dir);
    postgres::end(dir);
    node::destroy(dir)?;
    state::remove(dir)
}

fn lock() -> Result<fs::File> {
    paths::lock(&paths::cluster().with_extension("lock"))
}

fn certificates(dir: &Path) -> Result<PathBuf> {
    let authority = Authority::create(&dir.join("pki"))?;
    let address = node::ADDRESS.to_string();
    let service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "127.0.0.1"];
    let mut hosts = service.to_vec();
    hosts.extend([apiserver::KUBERNETES_SERVICE, address.as_str()]);
    authority.issue("apiserver", "kube-apiserver", None, &hosts)?;
    authority.issue("kubelet-client", "kube-apiserver-kubelet-client", Some("system:masters"), &[])?;
    let node_name = format!("system:node:{NODE_NAME}");
    authority.issue("kubelet-server", &node_name, Some("system:nodes"), &[NODE_NAME, &address])?;
    let server = format!("https://{address}:{API_PORT}");
    authority.kubeconfig("controller-manager", "system:kube-controller-manager", None, &server)?;
    authority.kubeconfig("scheduler", "system:kube-scheduler", None, &server)?;
    authority.kubeconfig("kubelet", &node_name, Some("system:nodes"), &server)?;
    authority.kubeconfig("proxy", "system:kube-proxy", None, &server)?;
    authority.kubeconfig("admin", "admin", Some("system:masters"), &server)
}

/// The lab's own program: beside the caller when that is a test, else the caller.
pub fn own_program() -> Result<PathBuf> {
    let caller = std::env::current_exe().context("finding the lab's own program")?;
    let beside = caller.ancestors().skip(1).take(3).map(|dir| dir.join("fairlead-lab")).find(|path| path.is_file());
    beside.context("`fairlead-lab` is not built\nhint: cargo build -p fairlead-lab, or make test")
}

/// The lab's own program with a subcommand that runs on.
fn own_command(subcommand: &str, kubeconfig: &Path) -> Result<Command> {
    let mut command = Command::new(own_program()?);
    command.arg(subcommand).arg("--kubeconfig").arg(kubeconfig);
    Ok(command)
}

async fn wait_until_ready(client: &Client, dir: &Path, kubelet: &Process) -> Result<()> {
    let nodes: Api<NodeObject> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let deadline = Instant::now() + Duration::from_secs(90);
    loop {
        let node = nodes.get_opt(NODE_NAME).await.ok().flatten();
        let conditions = node.and_then(|node| node.status?.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if ready && accounts.get_opt("default").await.is_ok_and(|account| account.is_some()) {
            return Ok(());
        }
        Process::of(dir).iter().try_for_each(Process::must_live)?;
        if Instant::now() > deadline {
            let said: Vec<_> =
                conditions.into_iter().filter(|c| c.status != "False").filter_map(|c| c.message).collect();
            let log = process::tail(&dir.join("log/kubelet.log"), 8);
            bail!("the node (pid {}) was not ready after 90 s: {}\n{log}", kubelet.pid, said.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
