//! Which Kubernetes the lab runs: binaries from `FAIRLEAD_KUBE_BIN`, else 1.20.2 built once from Debian's source.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// A folder of Kubernetes binaries and their version.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The folder of `kube-apiserver` and the others.
    pub dir: PathBuf,
    /// The minor version: 20 for 1.20.2.
    pub minor: u32,
}

impl Binaries {
    /// Finds the binaries, building them first where nothing else is given (about five minutes, once).
    pub fn find_or_build() -> Result<Self> {
        if let Some(dir) = std::env::var_os("FAIRLEAD_KUBE_BIN").filter(|value| !value.is_empty()) {
            return Self::in_folder(Path::new(&dir)).context("using `FAIRLEAD_KUBE_BIN`");
        }
        let dir = paths::cache()?.join("kubernetes-1.20.2");
        let _lock = paths::lock(&dir.with_extension("lock"))?;
        if !dir.join("complete").exists() {
            let script = paths::project().join("lab/build-kubernetes");
            let status = Command::new(&script).arg(&dir).status();
            let status = status.with_context(|| format!("running `{}`", script.display()))?;
            if !status.success() {
                bail!("`lab/build-kubernetes` failed ({status}); its output above names the step and the log");
            }
        }
        Self::in_folder(&dir)
    }

    /// Reads the version of the binaries in `dir` from `kube-apiserver --version`.
    pub fn in_folder(dir: &Path) -> Result<Self> {
        let program = dir.join("kube-apiserver");
        let output = Command::new(&program).arg("--version").output().with_context(|| {
            format!(
                "running `{}`\nhint: FAIRLEAD_KUBE_BIN=DIR names a folder that holds kube-apiserver",
                program.display()
            )
        })?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let minor =
            minor_version(&text).with_context(|| format!("`kube-apiserver --version` said `{}`", text.trim()))?;
        for needed in ["kube-controller-manager", "kube-scheduler", "kubelet"] {
            if !dir.join(needed).exists() {
                bail!("`{}` has no `{needed}`", dir.display());
            }
        }
        Ok(Self { dir: dir.to_owned(), minor })
    }

    /// The command for one of the binaries.
    #[must_use]
    pub fn command(&self, name: &str) -> Command {
        Command::new(self.dir.join(name))
    }

    /// The etcd that came with the set, else Debian's.
    #[must_use]
    pub fn etcd(&self) -> Command {
        let own = self.dir.join("etcd");
        if own.exists() { Command::new(own) } else { Command::new("etcd") }
    }

    /// Whether the set has a kube-proxy; where it has not, the lab maps Services itself.
    #[must_use]
    pub fn has_proxy(&self) -> bool {
        self.dir.join("kube-proxy").exists()
    }
}

/// `Kubernetes v1.36.2` → 36.
fn minor_version(text: &str) -> Option<u32> {
    text.trim().strip_prefix("Kubernetes v1.")?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_read_from_what_kube_apiserver_prints() {
        for (text, minor) in [
            ("Kubernetes v1.20.2\n", Some(20)),
            ("Kubernetes v1.36.2", Some(36)),
            ("Kubernetes v1.36.0-rc.1", Some(36)),
            ("Kubernetes v2.0.0", None),
            ("", None),
        ] {
            assert_eq!(minor_version(text), minor, "{text}");
        }
    }
}
