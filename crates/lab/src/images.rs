//! The lab's images, built by `lab/build-images` into the cache and kept there until their inputs change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The notebook image: `images/notebook` on the stand-in base.
pub const NOTEBOOK: &str = "fairlead.local/notebook:dev";
/// The stand-in for Kubeflow's notebook images, without sshd.
pub const TESTBASE: &str = "fairlead.local/testbase:1";

/// The notebook image with `RANDOM_UID=yes`, for clusters that give each namespace user ids of its own.
pub const RANDOM_UID: &str = "fairlead.local/notebook:random-uid";

/// An image in the cache.
#[derive(Debug)]
pub struct Image {
    /// The archive's name without its extension.
    pub name: &'static str,
    /// An OCI archive.
    pub archive: PathBuf,
    /// Changes with whatever the image is made from.
    pub hash: String,
}

/// Builds what is not in the cache, with progress on stderr; a fifth of a second when there is nothing to do.
pub fn build() -> Result<Vec<Image>> {
    let dir = paths::cache()?.join("images");
    let script = paths::project().join("lab/build-images");
    let status = Command::new(&script).arg(&dir).status().with_context(|| format!("running `{}`", script.display()))?;
    if !status.success() {
        bail!("`lab/build-images` failed ({status}); its output above names the log");
    }
    let built = ["pause", "testbase", "notebook", "notebook-random-uid"].into_iter().map(|name| {
        let hash = dir.join(format!("{name}.hash"));
        let hash = fs::read_to_string(&hash).with_context(|| format!("reading `{}`", hash.display()))?;
        Ok(Image { name, archive: dir.join(format!("{name}.tar")), hash })
    });
    built.collect()
}

/// Puts the built server into an image, where it is not in one already.
pub fn server(program: &Path) -> Result<Image> {
    let dir = paths::cache()?.join("images");
    let script = paths::project().join("lab/build-server-image");
    let status = Command::new(&script).arg(program).arg(&dir).status();
    let status = status.with_context(|| format!("running `{}`", script.display()))?;
    if !status.success() {
        bail!("`lab/build-server-image` failed ({status}); its output above names the log");
    }
    let hash = dir.join("server.hash");
    let hash = fs::read_to_string(&hash).with_context(|| format!("reading `{}`", hash.display()))?;
    Ok(Image { name: "server", archive: dir.join("server.tar"), hash })
}
