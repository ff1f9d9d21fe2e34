//! The machine within the machine that the cluster runs in: network, mount and PID namespaces of its own.
//!
//! Everything the cluster makes (interfaces, iptables rules, mounts, processes) lives inside and goes when the first
//! process of the PID namespace is killed, however the caller ended. The host sees one interface, [`INTERFACE`], on the
//! Pods' bridge. Inside there is no default route: nothing leaves the machine.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::apiserver::SERVICE_CIDR;
use crate::cgroups;
use crate::process::{self, Process, children};

/// The host's interface to the node.
pub const INTERFACE: &str = "fairlead0";
/// The node: API server, kubelet, the Pods' gateway.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The host, as Pods see it.
pub const HOST_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 254);
/// The network that node, Pods and host share.
pub const POD_CIDR: &str = "10.244.0.0/24";
/// The Pods' bridge, inside.
pub const BRIDGE: &str = "cni0";

/// What the kubelet sets for the whole machine and nothing would set back (its container manager's `setupNode`).
const SYSCTLS: [&str; 5] = [
    "vm/overcommit_memory",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];

/// Their values before, in the state folder.
const SAVED: &str = "sysctls";

/// The namespaces, held by a process that does nothing but reap.
#[derive(Debug, Clone)]
pub struct Node {
    pid: u32,
}

impl Node {
    /// Makes the namespaces and their network; remembers the machine's sysctls in `dir` first.
    ///
    /// Fails when the interface or the Pods' network is taken by somebody else.
    pub fn create(dir: &Path) -> Result<Self> {
        refuse_taken()?;
        save_sysctls(dir)?;
        let mut command = Command::new("unshare");
        command.args(["--net", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]);
        // bash as first process: its `wait` also reaps what others leave to it. Mounts spread inside, never outside.
        command.args([
            "--propagation",
            "private",
            "bash",
            "-c",
            "mount --make-rshared / && sleep infinity & wait; wait",
        ]);
        let holder = Process::start(dir, "node", &command)?;
        let deadline = Instant::now() + Duration::from_secs(5);
        let pid = loop {
            if let Some(pid) = children(holder.pid).first() {
                break *pid;
            }
            holder.must_live()?;
            if Instant::now() > deadline {
                bail!("no process in the new namespaces after 5 s");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let node = Self { pid };
        node.connect()?;
        Ok(node)
    }

    /// The node whose state is in `dir`, while it runs.
    #[must_use]
    pub fn of(dir: &Path) -> Option<Self> {
        let holder = Process::of(dir).into_iter().find(|process| process.name == "node" && process.alive())?;
        Some(Self { pid: *children(holder.pid).first()? })
    }

    /// `command`, to be run inside.
    #[must_use]
    pub fn inside(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("nsenter");
        wrapped.arg(format!("--target={}", self.pid)).args(["--net", "--mount", "--pid", "--"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped
    }

    /// Runs `command` inside to its end and returns what it printed; an error has what it said.
    pub fn run(&self, doing: &str, command: &Command) -> Result<String> {
        run(doing, &mut self.inside(command))
    }

    /// Runs a script inside and returns what it printed; an error has what it said.
    pub fn script(&self, doing: &str, script: &str) -> Result<String> {
        let mut bash = Command::new("bash");
        bash.args(["-euc", script]);
        self.run(doing, &bash)
    }

    /// Bridge and guard route inside; an interface and a route to ClusterIPs outside.
    fn connect(&self) -> Result<()> {
        let inside = format!(
            "ip link set lo up
             ip link add {BRIDGE} type bridge
             ip link set uplink master {BRIDGE}; ip link set uplink up
             ip addr add {ADDRESS}/24 dev {BRIDGE}; ip link set {BRIDGE} up
             # ClusterIPs need some route before iptables may rewrite them
             ip route add {SERVICE_CIDR} dev {BRIDGE}
             echo 1 >/proc/sys/net/ipv4/ip_forward
             # a Pod that reaches its neighbour by a Service must pass the rules on the way back, too
             [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"
        );
        let pid = self.pid;
        sh("making the node's interface", &format!("ip link add {INTERFACE} type veth peer name uplink netns {pid}"))?;
        self.script("setting up the node's network", &inside)?;
        sh(
            "setting up the host's interface to the node",
            &format!(
                "ip addr add {HOST_ADDRESS}/24 dev {INTERFACE} && ip link set {INTERFACE} up && \
                 ip route add {SERVICE_CIDR} via {ADDRESS} dev {INTERFACE}"
            ),
        )
    }
}

/// Ends the node of `dir` with everything in it, and sets the machine back: interface, cgroups, sysctls.
pub fn destroy(dir: &Path) -> Result<()> {
    if let Some(holder) = Process::of(dir).into_iter().find(|process| process.name == "node") {
        holder.signal(Signal::KILL);
    }
    // What runs outside of the namespaces goes now, and so do the entrances to what ran inside.
    process::stop_all(dir, Duration::from_secs(2));
    let left: Vec<String> = Process::of(dir).into_iter().filter(Process::alive).map(|process| process.name).collect();
    if !left.is_empty() {
        bail!("processes of the lab do not end: {}", left.join(", "));
    }
    // Without this file it never got as far as making anything, and what is there is another lab's.
    if !dir.join(SAVED).exists() {
        return Ok(());
    }
    if is_connected() {
        // It goes with the namespace a moment later in any case, so somebody may be quicker.
        let _ = sh("removing the host's interface to the node", &format!("ip link del {INTERFACE}"));
    }
    cgroups::remove(dir)?;
    restore_sysctls(dir)
}

fn refuse_taken() -> Result<()> {
    if is_connected() {
        bail!(
            "the interface `{INTERFACE}` is there already, and not from this lab's state folder\nhint: ip link del {INTERFACE}"
        );
    }
    for network in [POD_CIDR, SERVICE_CIDR] {
        let routes = run("reading the routes", Command::new("ip").args(["-o", "route", "show", "root", network]))?;
        let taken = routes.lines().find(|line| !line.starts_with("default"));
        if let Some(route) = taken {
            bail!(
                "the network {network} is in use on this machine: `{}`\nhint: stop what made that route",
                route.trim()
            );
        }
    }
    Ok(())
}

/// Whether the host has its interface to a node.
pub(crate) fn is_connected() -> bool {
    Path::new("/sys/class/net").join(INTERFACE).exists()
}

fn save_sysctls(dir: &Path) -> Result<()> {
    let value = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    let line = |name: &&str| format!("{name} {}", value(name).trim());
    let text = SYSCTLS.iter().map(line).collect::<Vec<_>>().join("\n");
    fs::write(dir.join(SAVED), text).context("remembering the machine's sysctls")
}

fn restore_sysctls(dir: &Path) -> Result<()> {
    for line in fs::read_to_string(dir.join(SAVED)).unwrap_or_default().lines() {
        let Some((name, value)) = line.split_once(' ') else {
            continue;
        };
        let path = format!("/proc/sys/{name}");
        if !value.is_empty() && fs::read_to_string(&path).is_ok_and(|now| now.trim() != value) {
            fs::write(&path, value).with_context(|| format!("setting `{path}` back"))?;
        }
    }
    Ok(())
}

fn sh(doing: &str, script: &str) -> Result<()> {
    run(doing, Command::new("bash").args(["-euc", script])).map(drop)
}

/// Runs `command` to its end and returns what it printed; an error has what it said.
pub(crate) fn run(doing: &str, command: &mut Command) -> Result<String> {
    let output =
        command.output().with_context(|| format!("{doing}: starting `{}`", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{doing} failed ({}): {said}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
