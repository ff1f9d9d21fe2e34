//! Somebody's computer: a home of its own with a key in it, in which pasted text runs as in a terminal there.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::gateway_person::{Said, finish};

/// One computer.
pub(crate) struct Laptop {
    home: TempDir,
}

impl Laptop {
    /// With a pair in `~/.ssh`.
    pub(crate) fn new(name: &str) -> Self {
        let home = tempfile::Builder::new().prefix(name).tempdir().unwrap();
        std::fs::create_dir(home.path().join(".ssh")).unwrap();
        let words = ["-q", "-N", "", "-t", "ed25519", "-C", name, "-f"];
        let made = Command::new("ssh-keygen").args(words).arg(home.path().join(".ssh/id_ed25519")).status().unwrap();
        assert!(made.success());
        Self { home }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(".ssh").join(name)
    }

    /// A file of its `~/.ssh`.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The public key's line.
    pub(crate) fn key(&self) -> String {
        self.file("id_ed25519.pub")
    }

    /// Runs text as a terminal of this computer would. ssh finds its home in the list of users and not by `HOME`, so the
    /// folder lies over that user's home, for these processes alone.
    pub(crate) async fn runs(&self, text: &str) -> Said {
        let script = self.home.path().join("pasted");
        std::fs::write(&script, text).unwrap();
        let input = std::fs::File::open(&script).unwrap();
        let mut command = tokio::process::Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let over = "home=$(getent passwd \"$(id -u)\" | cut -d: -f6); mount --bind \"$1\" \"$home\"; \
                    cd \"$home\"; HOME=$home exec bash -s";
        command.args(["--mount", "bash", "-euc", over, "bash"]).arg(self.home.path());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        finish(command.stdin(Stdio::from(input)).kill_on_drop(true)).await
    }
}
