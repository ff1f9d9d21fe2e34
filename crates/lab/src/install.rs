//! Fairlead itself in the cluster: the server's image, its database, and the manifests of `deploy/demo` or
//! `deploy/demo-production`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::Cluster;
use crate::installation::Installation;
use crate::node::run as run_command;
use crate::{images, paths, postgres, secret};

/// Fairlead's own namespace.
pub const NAMESPACE: &str = "fairlead-system";
/// Where the gateway is reached, as `deploy/demo-settings` fixes it.
pub const GATEWAY: &str = "10.96.22.22";
/// Where the page is reached from this machine, as `deploy/demo-settings` fixes it.
pub const PAGE: &str = "10.96.22.23:8080";
/// What stands in `deploy/page` until an admin, or the lab, puts a secret there.
const PLACEHOLDER: &str = "CHANGE-ME-by-deploy-ingress-secret-and-docs-install-md";
/// The uid of the server, as its manifests have it.
const UID: u32 = 65532;

/// Fairlead in the cluster.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Which of the two it is.
    pub installation: Installation,
    kubeconfig: PathBuf,
}

impl Installed {
    /// Builds the image, applies the manifests and waits until the server is ready. Changes nothing that is right.
    pub fn ensure(cluster: &Cluster) -> Result<Self> {
        let image = images::server(&program()?)?;
        let tag = image.hash.clone();
        cluster.import(&[image])?;
        let installation = Installation::wished()?;
        let installed = Self { installation, kubeconfig: cluster.kubeconfig.clone() };
        let folder = paths::project().join("deploy").join(installation.manifests());
        let manifests = installed.kubectl("reading the manifests", &["kustomize", &folder.display().to_string()])?;
        // A tag for each build: a Deployment whose image's tag stays would go on with the old one.
        let manifests =
            manifests.replace("fairlead.local/server:dev", &format!("fairlead.local/server:{}", tag.trim()));
        let manifests = manifests.replace(PLACEHOLDER, &secret::ensure(&ingress_secret())?);
        let manifests = match installation {
            Installation::AllInOne => {
                installed.volume()?;
                manifests
            }
            Installation::Production => installed.for_production(&manifests)?,
        };
        let file = paths::cluster().join("fairlead.yaml");
        secret::write(&file, &manifests)?;
        installed.kubectl("applying the manifests", &["apply", "-f", &file.display().to_string()])?;
        for (name, _) in installation.deployments() {
            installed.wait_for(name)?;
        }
        Ok(installed)
    }

    fn wait_for(&self, deployment: &str) -> Result<()> {
        let name = format!("deployment/{deployment}");
        let wait = ["-n", NAMESPACE, "rollout", "status", &name, "--timeout=180s"];
        if let Err(error) = self.kubectl("waiting for Fairlead", &wait) {
            let logs = self.kubectl("reading its log", &["-n", NAMESPACE, "logs", &name, "--tail=20"]);
            bail!("{error:#}\n{}", logs.unwrap_or_default());
        }
        Ok(())
    }

    /// The manifests with the database's address, and without what this API server does not know.
    fn for_production(&self, manifests: &str) -> Result<String> {
        let url = postgres::ensure(&paths::cluster())?;
        let versions = self.kubectl("asking for kinds", &["api-versions"])?;
        let has_budgets = versions.lines().any(|version| version == "policy/v1");
        let fits = |document: &&str| has_budgets || !document.contains("kind: PodDisruptionBudget");
        let mut documents: Vec<&str> = manifests.split("\n---\n").filter(fits).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "stringData": {"url": url},
            "metadata": {"name": "fairlead-database", "namespace": NAMESPACE}});
        let secret = secret.to_string();
        // Right behind the namespace, which is first: before the Pods that want it.
        documents.insert(1, &secret);
        Ok(documents.join("\n---\n"))
    }

    /// Runs an admin's command of the server in its Pod; `input` goes to its stdin.
    pub fn admin(&self, arguments: &[&str], input: &str) -> Result<String> {
        use std::io::Write as _;
        let mut command = Command::new("kubectl");
        let deployment = format!("deployment/{}", self.installation.deployments()[0].0);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["-n", NAMESPACE, "exec", "-i", &deployment, "--"]);
        command.arg("/usr/local/bin/fairlead-server").args(arguments);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting `kubectl exec`")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).context("writing to `kubectl exec`")?;
        }
        let output = child.wait_with_output().context("waiting for `kubectl exec`")?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("`fairlead-server {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&said).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Waits until new Pods of a profile's notebooks are mounted. The API server and the routes to the webhook learn of
    /// a new Pod of it a moment later than it is ready.
    pub async fn mounts(&self, client: &Client, namespace: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.would_mount(client, namespace).await? {
            if Instant::now() > deadline {
                bail!("new Pods are not mounted after 30 s");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Whether a new Pod of a notebook would be mounted now, by asking for one that is not made.
    pub async fn would_mount(&self, client: &Client, namespace: &str) -> Result<bool> {
        let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "asked", "uid": "asked", "controller": true});
        let pod = json!({"metadata": {"name": "asked", "labels": {"notebook-name": "asked"}, "ownerReferences": [owner]},
            "spec": {"containers": [{"name": "asked", "image": "none"}]}});
        let pod: Pod = serde_json::from_value(pod).context("writing a Pod")?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let asking = PostParams { dry_run: true, ..PostParams::default() };
        // A namespace takes no Pod until its ServiceAccount is there.
        let made = pods.create(&asking, &pod).await.ok().and_then(|pod| pod.spec);
        let mut volumes = made.iter().flat_map(|spec| spec.volumes.iter().flatten());
        Ok(volumes.any(|volume| volume.name == "fairlead-ssh"))
    }

    /// The log so far of all of its Pods, one after the other.
    pub fn log(&self) -> Result<String> {
        let all = ["-n", NAMESPACE, "logs", "-l", "app.kubernetes.io/name=fairlead", "--tail=-1"];
        self.kubectl("reading Fairlead's log", &[all.as_slice(), &["--max-log-requests=20"]].concat())
    }

    fn kubectl(&self, doing: &str, arguments: &[&str]) -> Result<String> {
        run_command(doing, Command::new("kubectl").arg("--kubeconfig").arg(&self.kubeconfig).args(arguments))
    }

    /// A volume for the claim: the lab has nothing that makes volumes, and the kubelet sets no owner on this kind.
    fn volume(&self) -> Result<()> {
        let folder = paths::cluster().join("volumes/fairlead");
        fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
        chown(&folder, Some(UID), Some(UID)).with_context(|| format!("giving `{}` to the server", folder.display()))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).context("closing the volume's folder")?;
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "fairlead"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder},
                "claimRef": {"namespace": NAMESPACE, "name": "fairlead"}}});
        let file = paths::cluster().join("volume.json");
        fs::write(&file, volume.to_string()).with_context(|| format!("writing `{}`", file.display()))?;
        self.kubectl("making a volume", &["apply", "-f", &file.display().to_string()]).map(drop)
    }
}

/// The file with what the ingress tells the page in this cluster.
#[must_use]
pub fn ingress_secret() -> PathBuf {
    paths::cluster().join("ingress-secret")
}

/// The built server: beside the lab's own program, or above it when the caller is a test.
fn program() -> Result<PathBuf> {
    let caller = std::env::current_exe().context("finding the lab's own program")?;
    let found = caller.ancestors().skip(1).take(3).map(|dir| dir.join("fairlead-server")).find(|path| path.is_file());
    found.context("`fairlead-server` is not built\nhint: cargo build -p fairlead-server")
}
