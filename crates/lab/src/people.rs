//! People with a laptop: each has a folder with a key and what `ssh` reads, and nothing of this machine's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::install::{GATEWAY, Installed};
use crate::node::run as run_command;

/// Somebody with a key, and a folder for it.
#[derive(Debug, Clone)]
pub struct Person {
    /// The Kubeflow user id.
    pub user: String,
    folder: PathBuf,
}

/// How an `ssh` ended: what it printed, or its words that say why not.
pub type Tried = Result<String, String>;

impl Person {
    /// Makes the folder, a key and `known_hosts`, where they are not there. `authority` is what `ca show` printed.
    pub fn prepare(folder: &Path, user: &str, authority: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
        let key = folder.join("id_ed25519");
        if !key.exists() {
            let mut command = Command::new("ssh-keygen");
            command.args(["-q", "-t", "ed25519", "-N", "", "-C", user, "-f"]).arg(&key);
            run_command("making a key", &mut command)?;
        }
        let line = authority.lines().map(str::trim).find(|line| line.starts_with("@cert-authority "));
        let line = line.context("`ca show` printed no line for known_hosts")?;
        fs::write(folder.join("known_hosts"), format!("{line}\n")).context("writing known_hosts")?;
        Ok(Self { user: user.to_owned(), folder: folder.to_owned() })
    }

    /// Registers the key, as an admin does, unless it is.
    pub fn register(&self, fairlead: &Installed) -> Result<()> {
        let public = self.public_key()?;
        let base64 = public.split(' ').nth(1).unwrap_or_default();
        if fairlead.admin(&["keys", "list", &self.user, "--json"], "")?.contains(base64) {
            return Ok(());
        }
        fairlead.admin(&["keys", "add", &self.user, "-"], &public).map(drop)
    }

    /// Writes `ssh_config`: what the gateway's command `config` prints, below where this person's files are.
    pub async fn configure(&self) -> Result<()> {
        let at = self.folder.display();
        let mine = format!(
            "# Written by `make demo`.\nHost *\n  IdentityFile \"{at}/id_ed25519\"\n  IdentitiesOnly yes\n  \
             IdentityAgent none\n  UserKnownHostsFile \"{at}/known_hosts\"\n  GlobalKnownHostsFile none\n  \
             StrictHostKeyChecking yes\n  BatchMode yes\n\n"
        );
        let first =
            format!("Host fairlead-gateway\n  HostName {GATEWAY}\n  HostKeyAlias fairlead-gateway\n  User fairlead\n");
        fs::write(self.config(), format!("{mine}{first}")).context("writing ssh_config")?;
        let tried = self.ssh_within(Duration::from_secs(20), "fairlead-gateway", "config").await?;
        let config = tried.map_err(|refusal| anyhow!("the gateway does not let {} in: {refusal}", self.user))?;
        fs::write(self.config(), format!("{mine}{config}")).context("writing ssh_config")
    }

    /// Runs a command by this person's ssh: what it printed, or why not, in the last words of ssh that say it.
    pub async fn ssh(&self, host: &str, command: &str) -> Result<Tried> {
        let mut ssh = tokio::process::Command::new("ssh");
        ssh.arg("-F").arg(self.config()).args([host, command]).stdin(std::process::Stdio::null());
        let output = tokio::time::timeout(Duration::from_secs(30), ssh.output());
        let output = output.await.context("ssh took more than 30 s")?.context("starting ssh")?;
        if output.status.success() {
            return Ok(Ok(String::from_utf8_lossy(&output.stdout).into_owned()));
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = said.lines().find(|line| line.contains("open failed") || line.contains("denied"));
        Ok(Err(reason.or(said.lines().last()).unwrap_or("no reason").trim().to_owned()))
    }

    /// The same, again and again until it goes well or `patience` is over.
    pub async fn ssh_within(&self, patience: Duration, host: &str, command: &str) -> Result<Tried> {
        let deadline = Instant::now() + patience;
        loop {
            match self.ssh(host, command).await? {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(Duration::from_millis(200)).await,
                tried => return Ok(tried),
            }
        }
    }

    /// The public key's line.
    pub fn public_key(&self) -> Result<String> {
        let path = self.folder.join("id_ed25519.pub");
        fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))
    }

    /// A path in this person's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// This person's `ssh_config`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("ssh_config")
    }
}
