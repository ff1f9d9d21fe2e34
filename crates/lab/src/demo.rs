//! The demo: a person's Notebook in a real cluster, and her `ssh` into it.
//!
//! Today the key is put into the Pod by hand and the Pod is dialled by its IP.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::json;

use crate::cluster::Cluster;
use crate::node::run as run_command;
use crate::{images, paths};

const OWNER: &str = "bert@example.com";
const NAMESPACE: &str = "team-a";
const NOTEBOOK: &str = "bert";
const HOST: &str = "bert.team-a.notebook";

/// Brings up cluster, Profile and Notebook, puts a key in place, and runs `ssh` in the Pod. May run twice.
///
/// Writes `kubeconfig`, `ssh_config` and a key pair to `target/demo` of the project.
pub async fn run() -> Result<()> {
    let began = Instant::now();
    let say = |what: &str| tracing::info!("demo {:>5.1} s  {what}", began.elapsed().as_secs_f32());
    say("a cluster on this machine (the first time: images and Kubernetes are built, about ten minutes)");
    let cluster = Cluster::shared().await?;
    let client = cluster.client().await?;
    let dir = folder();
    fs::create_dir_all(&dir).with_context(|| format!("making `{}`", dir.display()))?;
    let kubeconfig = dir.join("kubeconfig");
    fs::copy(&cluster.kubeconfig, &kubeconfig).context("copying the kubeconfig")?;

    say(&format!("the Profile `{NAMESPACE}` of {OWNER} and her Notebook `{NOTEBOOK}`"));
    create(&client).await?;
    let ip = pod_ip(&client).await?;
    say(&format!("the Pod runs at {ip}; waiting for its sshd"));
    let address = format!("{ip}:2209").parse().with_context(|| format!("`{ip}` is no address"))?;
    wait_for_sshd(address, Duration::from_secs(90)).await?;

    say("a key, put into the Pod by hand");
    let key = key_pair(&dir)?;
    let public = fs::read_to_string(key.with_extension("pub")).context("reading the public key")?;
    let script = format!("umask 077; printf '%s\\n' '{}' >/ssh_conf/authorized_keys", public.trim());
    in_pod(&kubeconfig, &script)?;
    let host_key = in_pod(&kubeconfig, "cat /ssh_conf/ssh_host_ed25519_key.pub")?;
    fs::write(dir.join("known_hosts"), format!("{HOST} {host_key}")).context("writing known_hosts")?;
    fs::write(dir.join("ssh_config"), ssh_config(&dir, &ip)).context("writing the ssh config")?;

    let config = dir.join("ssh_config").display().to_string();
    say(&format!("ssh -F {config} {HOST}"));
    let command = "echo \"hello from $(hostname), $(id -un), $NB_PREFIX\"";
    let answer = run_command("ssh into the Pod", Command::new("ssh").args(["-F", &config, HOST, command]))?;
    say(answer.trim());
    say(&format!("yours now: ssh -F {config} {HOST}"));
    say(&format!("and: export KUBECONFIG={}; when you are done: make demo-down", kubeconfig.display()));
    Ok(())
}

/// Removes what the demo wrote.
pub fn remove() -> Result<()> {
    match fs::remove_dir_all(folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing `{}`", folder().display()))
        }
        _ => Ok(()),
    }
}

/// Waits until an SSH server greets at `address`, and says how long that took.
pub async fn wait_for_sshd(address: SocketAddr, patience: Duration) -> Result<Duration> {
    let began = Instant::now();
    while !greets(address) {
        if began.elapsed() > patience {
            bail!("no SSH server greets at {address} after {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(began.elapsed())
}

fn greets(address: SocketAddr) -> bool {
    let mut greeting = [0; 4];
    let dialled = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    dialled.is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && &greeting == b"SSH-"
    })
}

async fn create(client: &Client) -> Result<()> {
    let params = PatchParams::apply("fairlead-demo").force();
    let kind = |kind: &str, version: &str| ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", version, kind));
    let profile = json!({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": NAMESPACE},
        "spec": {"owner": {"kind": "User", "name": OWNER}}});
    let profiles: Api<DynamicObject> = Api::all_with(client.clone(), &kind("Profile", "v1"));
    profiles.patch(NAMESPACE, &params, &Patch::Apply(profile)).await.context("creating the Profile")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
    until("the Profile's namespace", || async {
        Ok(namespaces.get_opt(NAMESPACE).await?.and(accounts.get_opt("default-editor").await?))
    })
    .await?;
    let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
        "metadata": {"name": NOTEBOOK, "namespace": NAMESPACE},
        "spec": {"template": {"spec": {"serviceAccountName": "default-editor",
            "containers": [{"name": NOTEBOOK, "image": images::NOTEBOOK}]}}}});
    let notebooks: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &kind("Notebook", "v1"));
    notebooks.patch(NOTEBOOK, &params, &Patch::Apply(notebook)).await.context("creating the Notebook")?;
    Ok(())
}

async fn pod_ip(client: &Client) -> Result<String> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let name = format!("{NOTEBOOK}-0");
    until("the Notebook's Pod", || async {
        let status = pods.get_opt(&name).await?.and_then(|pod| pod.status);
        Ok(status.filter(|status| status.phase.as_deref() == Some("Running")).and_then(|status| status.pod_ip))
    })
    .await
}

/// Asks ten times a second, for two minutes.
async fn until<T, F: Future<Output = kube::Result<Option<T>>>>(what: &str, ask: impl Fn() -> F) -> Result<T> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(found) = ask().await.with_context(|| format!("looking for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not appear in two minutes\nhint: make lab-status");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn key_pair(dir: &Path) -> Result<PathBuf> {
    let key = dir.join("id_ed25519");
    if !key.exists() {
        let mut command = Command::new("ssh-keygen");
        run_command("making a key", command.args(["-q", "-t", "ed25519", "-N", "", "-C", OWNER, "-f"]).arg(&key))?;
    }
    Ok(key)
}

fn in_pod(kubeconfig: &Path, script: &str) -> Result<String> {
    let mut command = Command::new("kubectl");
    command.arg("--kubeconfig").arg(kubeconfig).args(["exec", "--namespace", NAMESPACE, "--container", NOTEBOOK]);
    run_command("running a command in the Pod", command.args([&format!("{NOTEBOOK}-0"), "--", "sh", "-c", script]))
}

fn ssh_config(dir: &Path, ip: &str) -> String {
    let at = dir.display();
    format!(
        "# Written by `make demo` for this run of the Pod.\nHost {HOST}\n  HostName {ip}\n  HostKeyAlias {HOST}\n  \
         Port 2209\n  User jovyan\n  IdentityFile \"{at}/id_ed25519\"\n  IdentitiesOnly yes\n  ForwardAgent no\n  \
         UserKnownHostsFile \"{at}/known_hosts\"\n  StrictHostKeyChecking yes\n  ConnectTimeout 15\n"
    )
}

fn folder() -> PathBuf {
    paths::project().join("target/demo")
}
