//! The lab's images, built by `lab/build-images` into the cache and kept there until their inputs change.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

/// The notebook image: `images/notebook` on the stand-in base.
pub const NOTEBOOK: &str = "fairlead.local/notebook:dev";
/// The stand-in for Kubeflow's notebook images, without sshd.
pub const TESTBASE: &str = "fairlead.local/testbase:1";

/// Builds what is not in the cache, with progress on stderr, and returns the OCI archives.
pub fn build() -> Result<Vec<PathBuf>> {
    let dir = paths::cache()?.join("images");
    let script = paths::project().join("lab/build-images");
    let status = Command::new(&script).arg(&dir).status().with_context(|| format!("running `{}`", script.display()))?;
    if !status.success() {
        bail!("`lab/build-images` failed ({status}); its output above names the log");
    }
    Ok(["pause", "testbase", "notebook"].map(|name| dir.join(format!("{name}.tar"))).into())
}
