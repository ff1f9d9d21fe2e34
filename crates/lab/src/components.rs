//! Command lines and configuration of what runs inside the node, by Kubernetes version.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::apiserver::SERVICE_CIDR;
use crate::cgroups::CGROUP;
use crate::cluster::NODE_NAME;
use crate::kubernetes::Binaries;
use crate::node::{ADDRESS, BRIDGE, Node, POD_CIDR};
use crate::process::Process;

/// Writes the configuration of containerd, its network plugins and the kubelet.
pub fn configure(dir: &Path, binaries: &Binaries) -> Result<()> {
    let at = dir.display();
    let containerd = format!(
        r#"version = 2
root = "{at}/containerd/root"
state = "{at}/containerd/state"
[grpc]
  address = "{at}/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "fairlead.local/pause:1"
  disable_apparmor = true
  # without CAP_SYS_RESOURCE a lower score cannot be set, and every sandbox would fail
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{at}/cni/net.d"
[plugins."io.containerd.internal.v1.opt"]
  path = "{at}/containerd/opt"
"#
    );
    let network = json!({"cniVersion": "0.4.0", "name": "lab", "plugins": [
        {"type": "bridge", "bridge": BRIDGE, "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
         "ipam": {"type": "host-local", "dataDir": format!("{at}/cni/ipam"),
                  "ranges": [[{"subnet": POD_CIDR, "rangeStart": "10.244.0.10", "rangeEnd": "10.244.0.250"}]]}},
        {"type": "portmap", "capabilities": {"portMappings": true}}]});
    let mut kubelet = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
# the address that the API server dials
address: {ADDRESS}
healthzBindAddress: 127.0.0.1
authentication: {{anonymous: {{enabled: false}}, webhook: {{enabled: true}}, x509: {{clientCAFile: {at}/pki/ca.crt}}}}
authorization: {{mode: Webhook}}
tlsCertFile: {at}/pki/kubelet-server.crt
tlsPrivateKeyFile: {at}/pki/kubelet-server.key
cgroupDriver: cgroupfs
cgroupRoot: /{CGROUP}
failSwapOn: false
# no DNS runs here: names come from hostAliases
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {{memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}}
nodeStatusUpdateFrequency: 1s
"
    );
    if binaries.minor >= 27 {
        // a flag until 1.26 (kubernetes/kubernetes 106893)
        let _ = writeln!(kubelet, "containerRuntimeEndpoint: unix://{at}/containerd/containerd.sock");
    }
    if binaries.minor >= 31 {
        // refuses cgroup v1 by default since 1.35 (KEP 4569)
        kubelet.push_str("failCgroupV1: false\n");
    }
    for (path, text) in [
        ("containerd/config.toml", containerd),
        ("cni/net.d/10-lab.conflist", network.to_string()),
        ("kubelet/config.yaml", kubelet),
    ] {
        let path = dir.join(path);
        let folder = path.parent().context("a configuration file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
        fs::write(&path, text).with_context(|| format!("writing `{}`", path.display()))?;
    }
    Ok(())
}

/// What the API server of a cluster needs beyond that of a control plane: the way to the kubelet.
#[must_use]
pub fn apiserver_flags(dir: &Path, binaries: &Binaries) -> Vec<String> {
    let pki = dir.join("pki");
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.join(name).display());
    let mut flags = vec![
        file("kubelet-client-certificate", "kubelet-client.crt"),
        file("kubelet-client-key", "kubelet-client.key"),
        file("kubelet-certificate-authority", "ca.crt"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
    ];
    if !binaries.has_proxy() {
        // Webhooks are then dialled at their endpoints, not at a ClusterIP.
        flags.push("--enable-aggregator-routing=true".to_owned());
    }
    flags
}

/// containerd with a state of its own.
#[must_use]
pub fn containerd(dir: &Path) -> Command {
    let mut command = Command::new("containerd");
    command.arg("--config").arg(dir.join("containerd/config.toml"));
    command
}

/// The controller manager, one and therefore without an election.
#[must_use]
pub fn controller_manager(dir: &Path, binaries: &Binaries) -> Command {
    let at = dir.display();
    let config = format!("{at}/pki/controller-manager.kubeconfig");
    let mut command = binaries.command("kube-controller-manager");
    command.args([
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={at}/pki/sa.key"),
        format!("--root-ca-file={at}/pki/ca.crt"),
        format!("--cluster-signing-cert-file={at}/pki/ca.crt"),
        format!("--cluster-signing-key-file={at}/pki/ca.key"),
        format!("--service-cluster-ip-range={SERVICE_CIDR}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--allocate-node-cidrs=false".to_owned(),
        "--leader-elect=false".to_owned(),
    ]);
    command
}

/// The scheduler, one and therefore without an election.
#[must_use]
pub fn scheduler(dir: &Path, binaries: &Binaries) -> Command {
    let config = dir.join("pki/scheduler.kubeconfig").display().to_string();
    let mut command = binaries.command("kube-scheduler");
    command.args([
        format!("--kubeconfig={config}"),
        format!("--authentication-kubeconfig={config}"),
        format!("--authorization-kubeconfig={config}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--leader-elect=false".to_owned(),
    ]);
    command
}

/// The kubelet.
#[must_use]
pub fn kubelet(dir: &Path, binaries: &Binaries) -> Command {
    let at = dir.display();
    let mut command = binaries.command("kubelet");
    command.args([
        format!("--config={at}/kubelet/config.yaml"),
        format!("--kubeconfig={at}/pki/kubelet.kubeconfig"),
        format!("--hostname-override={NODE_NAME}"),
        format!("--node-ip={ADDRESS}"),
        format!("--root-dir={at}/kubelet/root"),
    ]);
    if binaries.minor < 27 {
        command.arg("--container-runtime=remote");
        command.arg(format!("--container-runtime-endpoint=unix://{at}/containerd/containerd.sock"));
    }
    command
}

/// kube-proxy with iptables, leaving the machine's connection tracking as it is.
#[must_use]
pub fn proxy(dir: &Path, binaries: &Binaries) -> Command {
    let mut command = binaries.command("kube-proxy");
    command.args([
        format!("--kubeconfig={}", dir.join("pki/proxy.kubeconfig").display()),
        format!("--hostname-override={NODE_NAME}"),
        "--proxy-mode=iptables".to_owned(),
        format!("--cluster-cidr={POD_CIDR}"),
        format!("--bind-address={ADDRESS}"),
        "--healthz-bind-address=127.0.0.1:10256".to_owned(),
        "--metrics-bind-address=127.0.0.1:10249".to_owned(),
        "--conntrack-max-per-core=0".to_owned(),
        "--conntrack-tcp-timeout-established=0".to_owned(),
        "--conntrack-tcp-timeout-close-wait=0".to_owned(),
    ]);
    command
}

/// Lets kube-proxy read what it maps: nobody else binds the role that Kubernetes brings for it.
pub async fn bind_proxy_role(client: &Client) -> Result<()> {
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "fairlead-lab-proxy"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:kube-proxy"}],
    });
    let params = PatchParams::apply("fairlead-lab").force();
    bindings.patch("fairlead-lab-proxy", &params, &Patch::Apply(binding)).await.context("binding kube-proxy's role")?;
    Ok(())
}

/// Waits until containerd answers.
pub fn wait_for_containerd(node: &Node, dir: &Path, containerd: &Process) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while node.run("asking containerd", ctr(dir).arg("version")).is_err() {
        containerd.must_live()?;
        if Instant::now() > deadline {
            bail!("containerd did not answer in 30 s");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Imports one OCI archive into containerd, as the kubelet sees its images.
pub fn import(node: &Node, dir: &Path, archive: &Path) -> Result<()> {
    let doing = format!("importing `{}`", archive.display());
    node.run(&doing, ctr(dir).args(["images", "import"]).arg(archive)).map(drop)
}

fn ctr(dir: &Path) -> Command {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(dir.join("containerd/containerd.sock")).args(["--namespace", "k8s.io"]);
    command
}
