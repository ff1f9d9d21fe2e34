//! Packages of Python's index that tests use, each in an environment of its own in the cache.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::path::{Path, PathBuf};
use std::process::Command;

use fairlead_lab::paths;

/// A file of `package`, by its path below `site-packages`. The package is installed where it is not there yet: `package`
/// is a name with its version, and what it depends on is left away.
pub(crate) fn file(package: &str, path: &str) -> PathBuf {
    let python = paths::cache().unwrap().join("python");
    let _lock = paths::lock(&python.join("lock")).unwrap();
    let environment = python.join(package);
    let done = environment.join("done");
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", "--no-deps", package]));
        std::fs::write(&done, "").unwrap();
    }
    below(&environment, path).unwrap_or_else(|| panic!("`{package}` has no `{path}`"))
}

/// Which Python it is names a folder on the way.
fn below(environment: &Path, path: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(environment.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let mut files = versions.map(|folder| folder.join("site-packages").join(path));
    files.find(|file| file.is_file())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
