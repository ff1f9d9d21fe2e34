//! The program itself, on the API server and the database of a [`Cluster`].
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, eventually};

/// The program with a cluster and a database; it is killed where a test ends before it.
pub(crate) struct Program(pub(crate) Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program with these words.
pub(crate) fn program(cluster: &Cluster, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.args(words).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("FAIRLEAD_KUBECONFIG", &cluster.plane.kubeconfig).env("FAIRLEAD_DATABASE", cluster.url());
    command
}

/// `serve` without the parts that people reach.
pub(crate) fn serve(cluster: &Cluster, more: &[&str]) -> Program {
    let ports = ["--webhook-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"];
    let words = [&["serve", "--parts", "operator,webhook"], ports.as_slice(), more].concat();
    Program(program(cluster, &words).spawn().unwrap())
}

/// Asks it to stop; whether it ended well.
pub(crate) fn stop(mut program: Program) -> bool {
    let pid = Pid::from_raw(i32::try_from(program.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    program.0.wait().unwrap().success()
}

/// All that it said.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A server with a gateway, and where that listens.
pub(crate) struct Serving {
    pub(crate) program: Program,
    pub(crate) gateway: SocketAddr,
}

/// Operator and gateway, by the program at `path`, with its log in `dir`; what it said where it ended instead.
pub(crate) async fn serve_at(path: &Path, cluster: &Cluster, dir: &Path) -> Result<Serving, String> {
    let log = dir.join("server.log");
    let mut command = Command::new(path);
    command.args(["serve", "--parts", "operator,gateway", "--gateway-listen", "127.0.0.1:0"]);
    command.args(["--metrics-listen", "127.0.0.1:0"]).env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command.env("FAIRLEAD_KUBECONFIG", &cluster.plane.kubeconfig).env("FAIRLEAD_DATABASE", cluster.url());
    let mut program = Program(command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap());
    eventually("the gateway listens, or the server says why not", async || {
        // In this order: what it says before it ends has been written when it has ended.
        let ended = program.0.try_wait().unwrap().is_some();
        let text = std::fs::read_to_string(&log).unwrap();
        if ended {
            return Some(Err(text));
        }
        let line = text.lines().find(|line| line.contains("gateway listens"))?;
        let address = line.split("address=").nth(1)?.split(' ').next()?;
        Some(Ok(address.parse().unwrap()))
    })
    .await
    .map(|gateway| Serving { program, gateway })
}
