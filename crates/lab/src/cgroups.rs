//! The lab's cgroup, below which the kubelet makes those of Pods, and what it takes for the machine to have none again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The name of the lab's cgroup.
pub const CGROUP: &str = "fairlead-lab";
/// In the state folder: the controllers that the lab switched on for the whole machine, one `FOLDER NAME` a line.
const SWITCHED_ON: &str = "cgroup-controllers";

/// Makes the lab's cgroup in every hierarchy (v1) or with every controller (v2). What that changes for the whole
/// machine is written to `state` first, for [`remove`].
pub fn create(state: &Path) -> Result<()> {
    for root in hierarchies() {
        let dir = root.join(CGROUP);
        fs::create_dir_all(&dir).with_context(|| format!("making `{}`", dir.display()))?;
        if root.join("cgroup.subtree_control").exists() {
            switch_on(state, &root, &dir)?;
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if !root.join("cgroup.controllers").exists()
                && let Ok(value) = fs::read_to_string(root.join(file))
            {
                fs::write(dir.join(file), value).with_context(|| format!("setting `{file}` of the lab's cgroup"))?;
            }
        }
    }
    Ok(())
}

/// Switches every controller of v2 on for what is below `root`, and below the lab's `dir` in it.
fn switch_on(state: &Path, root: &Path, dir: &Path) -> Result<()> {
    let words = |file: &str| fs::read_to_string(root.join(file)).unwrap_or_default();
    let (all, before) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let missing = missing(&all, &before);
    let known = fs::read_to_string(state.join(SWITCHED_ON)).unwrap_or_default();
    let lines: Vec<String> = missing.iter().map(|name| format!("{} {name}\n", root.display())).collect();
    fs::write(state.join(SWITCHED_ON), known + &lines.concat())
        .context("remembering the machine's cgroup controllers")?;
    // Some cannot be switched on everywhere; the kubelet says which it misses.
    for name in missing {
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{name}"));
    }
    for name in all.split_whitespace() {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{name}"));
    }
    Ok(())
}

fn missing<'a>(all: &'a str, before: &str) -> Vec<&'a str> {
    all.split_whitespace().filter(|name| !before.split_whitespace().any(|other| other == *name)).collect()
}

/// Removes the lab's cgroups, and switches off the controllers that [`create`] switched on.
pub fn remove(state: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    for root in hierarchies() {
        let top = root.join(CGROUP);
        // The kernel lets a cgroup go only a moment after its last process.
        while top.exists() {
            remove_empty(&top);
            if top.exists() && Instant::now() > deadline {
                bail!("the cgroup `{}` is still in use", top.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    for line in fs::read_to_string(state.join(SWITCHED_ON)).unwrap_or_default().lines() {
        if let Some((root, name)) = line.rsplit_once(' ') {
            // The kernel refuses while somebody else's group uses the controller, and then it has to stay.
            let _ = fs::write(Path::new(root).join("cgroup.subtree_control"), format!("-{name}"));
        }
    }
    Ok(())
}

fn remove_empty(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// The roots of cgroups: one with v2, one for each controller with v1.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_cgroups = |line: &&str| matches!(line.split(' ').nth(2), Some("cgroup" | "cgroup2"));
    let roots = mounts.lines().filter(of_cgroups).filter_map(|line| line.split(' ').nth(1));
    roots.filter(|root| root.starts_with("/sys/fs/cgroup")).map(PathBuf::from).collect()
}
