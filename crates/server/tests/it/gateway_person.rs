//! Somebody at a laptop: a key, the configuration that Fairlead gives out, and the stock OpenSSH.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use fairlead_model::client_config::{GATEWAY_ALIAS, GatewayAddress, known_hosts, ssh_config};
use fairlead_model::{HostSuffix, PublicKey};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// One client.
pub(crate) struct Client {
    home: TempDir,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A session that is open.
pub(crate) struct Live {
    pub(crate) child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    pub(crate) fn new(name: &str, kind: &str, gateway: SocketAddr, authority: &str) -> Self {
        let home = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let key = home.path().join("key");
        let bits = if kind == "rsa" { ["-b", "3072"] } else { ["-C", name] };
        let words = ["-q", "-N", "", "-t", kind, bits[0], bits[1], "-f"];
        assert!(std::process::Command::new("ssh-keygen").args(words).arg(&key).status().unwrap().success());
        let known = home.path().join("known_hosts");
        std::fs::write(&known, known_hosts(&HostSuffix::default(), authority)).unwrap();
        let gateway = GatewayAddress::parse(&gateway.to_string()).unwrap();
        let (key, known) = (key.to_str(), known.to_str());
        let config = ssh_config(&gateway, &HostSuffix::default(), key, known);
        // The Pod of these tests is this machine: its user is root, and nothing of this machine's client may help.
        let first = "BatchMode yes\nIdentityAgent none\nGlobalKnownHostsFile none\n\
                     Host *.notebook\n  User root\n";
        std::fs::write(home.path().join("config"), format!("{first}{config}")).unwrap();
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A file with these bytes, opened.
    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> std::fs::File {
        std::fs::write(self.path(name), bytes).unwrap();
        std::fs::File::open(self.path(name)).unwrap()
    }

    /// The public key's line.
    pub(crate) fn line(&self) -> String {
        std::fs::read_to_string(self.path("key.pub")).unwrap()
    }

    pub(crate) fn key(&self) -> russh::keys::PrivateKey {
        russh::keys::PrivateKey::read_openssh_file(self.path("key")).unwrap()
    }

    pub(crate) fn public(&self) -> PublicKey {
        PublicKey::parse(&self.line()).unwrap().0
    }

    /// `ssh` with this client's configuration.
    pub(crate) fn ssh(&self) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(self.path("config")).stdin(Stdio::null()).kill_on_drop(true);
        ssh
    }

    /// Runs it to its end.
    pub(crate) async fn runs(&self, words: &[&str]) -> Said {
        finish(self.ssh().args(words)).await
    }

    /// A command of the gateway.
    pub(crate) async fn asks(&self, command: &str) -> Said {
        self.runs(&[GATEWAY_ALIAS, command]).await
    }

    /// Takes up what `config` says about known hosts, after these lines of its own.
    pub(crate) async fn learns(&self, own: &str) -> String {
        let said = self.asks("config").await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let lines = said.out.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| line.starts_with('@'));
        let lines = lines.fold(String::new(), |all, line| all + line + "\n");
        self.knows(&format!("{own}{lines}"));
        lines
    }

    /// Trusts these lines and no others.
    pub(crate) fn knows(&self, lines: &str) {
        std::fs::write(self.path("known_hosts"), lines).unwrap();
    }

    /// The same by the login name under which a claimed key signs in.
    pub(crate) async fn asks_to_confirm(&self, command: &str) -> Said {
        self.runs(&["-l", "confirm", GATEWAY_ALIAS, command]).await
    }

    /// Whether the notebook opens to this client; panics with what it said if the answer is neither.
    pub(crate) async fn gets_into(&self, notebook: &str) -> Said {
        self.runs(&[notebook, "echo in $NOTEBOOK"]).await
    }

    /// A session that has begun, and stays open as long as nobody ends it.
    pub(crate) async fn stays_in(&self, notebook: &str) -> Live {
        self.stays(&[notebook, "echo in $NOTEBOOK; exec cat"]).await
    }

    /// The same with other words; waits for the first line.
    pub(crate) async fn stays(&self, words: &[&str]) -> Live {
        let mut ssh = self.ssh();
        let mut child =
            ssh.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await.unwrap().unwrap();
        assert!(first.is_some(), "the session did not begin");
        Live { child, lines }
    }
}

impl Said {
    /// Asserts a login into a notebook.
    pub(crate) fn is_in(&self, notebook: &str) {
        assert!(self.code == Some(0) && self.out == format!("in {notebook}\n"), "{self:?}");
    }

    /// Asserts a refusal by the gateway, with this in what the client printed.
    pub(crate) fn is_refused(&self, why: &str) {
        assert!(self.code == Some(255) && self.out.is_empty() && self.err.contains(why), "wanted {why:?}: {self:?}");
    }
}

impl Live {
    /// Whether it still answers.
    pub(crate) async fn echoes(&mut self, text: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        tokio::io::AsyncWriteExt::write_all(stdin, format!("{text}\n").as_bytes()).await.unwrap();
        let line = tokio::time::timeout(Duration::from_secs(10), self.lines.next_line()).await.unwrap().unwrap();
        assert_eq!(line.as_deref(), Some(text));
    }

    /// Waits for its end; what it said and how long that took.
    pub(crate) async fn ends(mut self) -> (Said, Duration) {
        let begun = Instant::now();
        // Waiting for a child closes its input, which would end it.
        let _input = self.child.stdin.take();
        let said = finish_child(self.child).await;
        (said, begun.elapsed())
    }
}

/// Runs a program to its end, for at most a minute.
pub(crate) async fn finish(command: &mut Command) -> Said {
    finish_child(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).await
}

async fn finish_child(mut child: Child) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async {
        let read_out = async {
            if let Some(mut stdout) = stdout {
                stdout.read_to_end(&mut out).await.unwrap();
            }
        };
        let read_err = async {
            if let Some(mut stderr) = stderr {
                stderr.read_to_end(&mut err).await.unwrap();
            }
        };
        tokio::join!(child.wait(), read_out, read_err).0.unwrap()
    };
    let status = tokio::time::timeout(Duration::from_mins(1), all).await.expect("the client hangs");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { code: status.code(), out: text(out), err: text(err) }
}
