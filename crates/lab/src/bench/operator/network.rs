//! A network of the benchmark's own, with nothing in it but loopback, where every Pod's address answers as an sshd
//! does: an operator that dials thousands of Pods in vain would be measured in another state than it lives in.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

/// Says that the process is in there already.
const MARK: &str = "FAIRLEAD_BENCH_NETWORK";
/// Where the Pods are: addresses for benchmarks (RFC 2544).
const PODS: &str = "198.18.0.0/15";

/// Starts this very command again in a network namespace, unless it is in one. Returns there alone.
pub fn inside_own() -> Result<()> {
    if std::env::var_os(MARK).is_none() {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        let own = std::env::current_exe().context("finding this program")?;
        let error = unshare.arg("--").arg(own).args(std::env::args_os().skip(1)).env(MARK, "1").exec();
        return Err(error).context("making a network namespace by `unshare`");
    }
    for arguments in [&["link", "set", "lo", "up"][..], &["route", "add", "local", PODS, "dev", "lo"]] {
        let status = Command::new("ip").args(arguments).status().context("running `ip`")?;
        ensure!(status.success(), "`ip {}` failed", arguments.join(" "));
    }
    Ok(())
}

/// Greets whoever connects to any Pod, from now on.
pub(super) async fn answer_as_sshd() -> Result<()> {
    let listener = TcpListener::bind("0.0.0.0:2209").await.context("listening as every Pod's sshd")?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Who has gone already misses nothing.
            let _ = stream.write_all(b"SSH-2.0-bench\r\n").await;
        }
    });
    Ok(())
}
