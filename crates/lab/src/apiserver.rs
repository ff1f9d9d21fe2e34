//! The command lines of etcd and the API server, shared by both sizes of the lab, and how to see that they answer.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::kubernetes::Binaries;
use crate::process::Process;

/// The range that Services get their addresses from.
pub const SERVICE_CIDR: &str = "10.96.0.0/16";
/// The address of the Service `kubernetes`: the first of [`SERVICE_CIDR`].
pub const KUBERNETES_SERVICE: &str = "10.96.0.1";

/// etcd on loopback, for one run: it need not survive a power cut, so it never waits for the disk.
#[must_use]
pub fn etcd(binaries: &Binaries, dir: &Path, client: u16, peer: u16) -> Command {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut etcd = binaries.etcd();
    etcd.arg("--data-dir").arg(dir.join("etcd")).args([
        &format!("--listen-client-urls={client}"),
        &format!("--advertise-client-urls={client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync",
    ]);
    etcd
}

/// The API server with RBAC, without anonymous access; certificates from `DIR/pki`.
#[must_use]
pub fn apiserver(binaries: &Binaries, dir: &Path, etcd: u16, address: IpAddr, port: u16) -> Command {
    let pki = dir.join("pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let issuer = "https://kubernetes.default.svc";
    let mut server = binaries.command("kube-apiserver");
    server.args([
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        format!("--bind-address={address}"),
        format!("--advertise-address={address}"),
        format!("--secure-port={port}"),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "ca.crt"),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
        format!("--service-account-issuer={issuer}"),
        format!("--api-audiences={issuer}"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--anonymous-auth=false".to_owned(),
        "--allow-privileged=true".to_owned(),
    ]);
    server
}

/// A client for the API server of `kubeconfig`, with the retries of kube's client off: a starting API server answers
/// 503 with `retry-after: 10`, and ten silent seconds are worse than an error (seen with kube 5.0).
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    client_as(kubeconfig, None).await
}

/// The same acting as another user, such as `system:serviceaccount:NAMESPACE:NAME`, with that user's rights.
pub async fn client_as(kubeconfig: &Path, user: Option<&str>) -> Result<Client> {
    // Two crates may each have installed it; whoever was first is right.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading `{}`", kubeconfig.display()))?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(read, &options).await.context("using the lab's kubeconfig")?;
    config.default_retry = false;
    config.auth_info.impersonate = user.map(str::to_owned);
    Client::try_from(config).context("making a client for the API server")
}

/// Waits until `/readyz` says ok; fails at once with the log of a process that ended meanwhile.
pub async fn ready(client: &Client, needs: &[Process], patience: Duration) -> Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        let request = http::Request::get("/readyz").body(Vec::new()).context("asking for /readyz")?;
        let answer = tokio::time::timeout(Duration::from_secs(2), client.request_text(request)).await;
        let last = match answer {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in 2 s".to_owned(),
        };
        needs.iter().try_for_each(Process::must_live)?;
        if Instant::now() > deadline {
            bail!("the API server was not ready after {} s: {last}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `N` free TCP ports of loopback. They are free when this returns; somebody may be quicker, so callers try again.
pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("looking for a free port of loopback")?;
        *port = listener.local_addr().context("reading a free port")?.port();
        held.push(listener);
    }
    Ok(ports)
}
