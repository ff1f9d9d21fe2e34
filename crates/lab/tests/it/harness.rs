//! People with keys, and what their clients said. Real programs with a configuration file of their own, so that nothing
//! of the machine that runs the tests (agents, known hosts, defaults) helps or hinders them.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::notebook::Notebook;

/// Somebody with an Ed25519 key and a folder for it.
pub(crate) struct Person {
    home: TempDir,
}

/// How a client ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Person {
    pub(crate) fn new(name: &str) -> Self {
        let home = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        let at = home.path().display().to_string();
        make_key(&home.path().join("key"), name);
        // A Pod's address may have been another Pod's a minute ago: each person knows no host at first.
        let config = format!(
            "User jovyan\nPort 2209\nIdentityFile {at}/key\nIdentitiesOnly yes\nIdentityAgent none\nBatchMode yes\n\
             UserKnownHostsFile {at}/known_hosts\nGlobalKnownHostsFile none\nStrictHostKeyChecking accept-new\n\
             ConnectTimeout 5\nExitOnForwardFailure yes\n"
        );
        fs::write(home.path().join("config"), config).unwrap();
        Self { home }
    }

    pub(crate) fn public_key(&self) -> String {
        fs::read_to_string(self.path("key.pub")).unwrap()
    }

    /// As sshd logs it and as `ssh-add -l` prints it: `SHA256:…`.
    pub(crate) fn fingerprint(&self) -> String {
        let said = run(Command::new("ssh-keygen").arg("-lf").arg(self.path("key.pub")));
        said.out.split(' ').nth(1).unwrap().to_owned()
    }

    /// A path in this person's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub(crate) fn writes(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command in the notebook.
    pub(crate) fn ssh(&self, notebook: &Notebook, command: &[&str]) -> Said {
        self.ssh_with(notebook, &[], command)
    }

    pub(crate) fn ssh_with(&self, notebook: &Notebook, options: &[&str], command: &[&str]) -> Said {
        run(&mut self.ssh_command(notebook, options, command, 30))
    }

    /// Runs a command in the notebook with `script` as its input.
    pub(crate) fn pipes(&self, notebook: &Notebook, options: &[&str], command: &[&str], script: &str) -> Said {
        let mut client = self.ssh_command(notebook, options, command, 30);
        let mut child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Starts a client that stays: see [`Connection`].
    pub(crate) fn keeps_open(&self, notebook: &Notebook, options: &[&str], command: &[&str]) -> Connection {
        let mut client = self.ssh_command(notebook, options, command, 120);
        Connection(client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Runs scp, sftp, rsync or git, with this person's configuration.
    pub(crate) fn runs(&self, program: &str, arguments: &[&str]) -> Said {
        let ssh = format!("ssh -F {}", self.path("config").display());
        let mut command = limited(program, 30);
        match program {
            "rsync" => command.args(["-e", &ssh]),
            "git" => command.env("GIT_SSH_COMMAND", ssh).env("GIT_CONFIG_GLOBAL", "/dev/null"),
            _ => command.arg("-F").arg(self.path("config")),
        };
        run(command.args(arguments))
    }

    fn ssh_command(&self, notebook: &Notebook, options: &[&str], command: &[&str], seconds: u32) -> Command {
        let mut client = limited("ssh", seconds);
        client.arg("-F").arg(self.path("config")).args(options).arg(&notebook.address).args(command);
        client
    }
}

impl Said {
    /// The output of a client that ended well.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// A client that was turned away, for `reason`.
    #[track_caller]
    pub(crate) fn refused(&self, reason: &str) {
        assert_eq!(self.code, Some(255), "{self:?}");
        assert!(self.err.contains(reason), "expected `{reason}`: {self:?}");
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// A client in the background. It ends with this value.
pub(crate) struct Connection(pub(crate) Child);

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn make_key(path: &Path, comment: &str) {
    run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", comment, "-f"]).arg(path)).ok();
}

/// Runs a client to its end, with nothing to read.
pub(crate) fn run(command: &mut Command) -> Said {
    command.stdin(Stdio::null()).output().unwrap().into()
}

/// What curl gets, headers included.
pub(crate) fn curl(arguments: &[&str]) -> Said {
    run(limited("curl", 30).args(["-sS", "-i", "--noproxy", ""]).args(arguments))
}

/// Asks until there is an answer, and returns it with the time that took. Fails the test when there is none in time.
pub(crate) async fn within<T>(seconds: u64, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
    let began = Instant::now();
    let answered = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let Ok(answer) = tokio::time::timeout(Duration::from_secs(seconds), answered).await else {
        panic!("not within {seconds} s: {what}");
    };
    (answer, began.elapsed())
}

/// Shows a time beside the test that measured it.
#[expect(clippy::print_stderr, reason = "the test runner shows it with the test")]
pub(crate) fn measured(what: &str, took: Duration) {
    eprintln!("measured: {what}: {:.2} s", took.as_secs_f32());
}

/// No client of a test waits for ever. Killed at once with its limiter, since that passes no KILL on.
fn limited(program: &str, seconds: u32) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", &seconds.to_string(), program]);
    command
}
