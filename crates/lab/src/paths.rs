//! Where the lab keeps things: built binaries and images in a cache, everything that runs in a state folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder of what is slow to make and safe to keep: `$FAIRLEAD_CACHE`, else `$XDG_CACHE_HOME/fairlead`, else
/// `~/.cache/fairlead`.
pub fn cache() -> Result<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(dir) = var("FAIRLEAD_CACHE") {
        return Ok(dir);
    }
    if let Some(dir) = var("XDG_CACHE_HOME") {
        return Ok(dir.join("fairlead"));
    }
    let home = var("HOME").context("no cache folder: none of `FAIRLEAD_CACHE`, `XDG_CACHE_HOME`, `HOME` is set")?;
    Ok(home.join(".cache/fairlead"))
}

/// The state folder of the one cluster: `$FAIRLEAD_LAB_DIR`, else `/var/lib/fairlead-lab`. Not below `/run`: that is
/// memory on most machines, and containerd unpacks images here.
#[must_use]
pub fn cluster() -> PathBuf {
    let named = std::env::var_os("FAIRLEAD_LAB_DIR").filter(|value| !value.is_empty());
    named.map_or_else(|| "/var/lib/fairlead-lab".into(), PathBuf::from)
}

/// The folder that holds one state folder per control plane: beside the cluster's state for root, in the cache for
/// others. Not below `/tmp`, where anybody may make a folder of this name first.
pub fn control_planes() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        Ok(cluster().with_file_name("fairlead-lab-control-planes"))
    } else {
        Ok(cache()?.join("control-planes"))
    }
}

/// The project's top folder, as it was when this crate was built.
#[must_use]
pub fn project() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_path_buf()
}

/// Fails with a hint when the caller is not root, which namespaces, mounts and cgroups need.
pub fn require_root(doing: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    bail!("{doing} needs root: it makes namespaces, mounts and cgroups\nhint: sudo -E make lab-up");
}

/// Waits for an exclusive lock, which the kernel drops with its holder.
pub fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making `{}`", folder.display()))?;
    }
    let file = File::create(path).with_context(|| format!("opening `{}`", path.display()))?;
    file.lock().with_context(|| format!("locking `{}`", path.display()))?;
    Ok(file)
}
