//! The people of the benchmark: each owns a profile, works in three others, and has five keys.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::ByteString;

use super::super::page::cast::owner;
use super::super::running::database;

/// Contributors of each profile.
const CONTRIBUTORS: usize = 3;
/// Keys of each person.
const KEYS: usize = 5;
/// Keys in each Secret.
pub(super) const LINES: usize = (CONTRIBUTORS + 1) * KEYS;

/// Who works in a profile beside its owner: the owners of the profiles after it.
pub(super) fn contributors(of: usize, profiles: usize) -> Vec<String> {
    (1..=CONTRIBUTORS).map(|after| owner((of + after) % profiles)).collect()
}

/// The profiles where the owner of one works.
pub(super) fn works_in(person: usize, profiles: usize) -> Vec<usize> {
    (0..=CONTRIBUTORS).map(|before| (person + profiles - before) % profiles).collect()
}

/// Everybody's keys, by the server's own command.
pub(super) fn import_keys(server: &Path, state: &Path, profiles: usize) -> Result<()> {
    let folder = state.join("keys");
    fs::create_dir_all(&folder).context("making a folder for keys")?;
    for person in 0..profiles {
        let lines = (0..KEYS).try_fold(String::new(), |mut text, number| {
            writeln!(text, "{}", key(person, number)?)?;
            anyhow::Ok(text)
        })?;
        fs::write(folder.join(owner(person)), lines).context("writing a person's keys")?;
    }
    keys(server, state, &["import", "--by-file-name", &folder.display().to_string()])
}

/// A file with a key that nobody has yet.
pub(super) fn new_key(state: &Path, number: usize) -> Result<PathBuf> {
    let path = state.join(format!("new-{number}.pub"));
    fs::write(&path, key(usize::MAX, number)?).context("writing a key")?;
    Ok(path)
}

/// The server's command `keys`.
pub(super) fn keys(server: &Path, state: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(server);
    command.args(["keys", "--database", &database(state)]).args(arguments);
    let output = command.output().context("running `keys`")?;
    ensure!(output.status.success(), "`keys` failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// An Ed25519 public key by its numbers. To have a private one takes nobody here.
fn key(person: usize, number: usize) -> Result<String> {
    let kind = b"ssh-ed25519";
    let mut blob = [&[0, 0, 0, 11][..], kind, &[0, 0, 0, 32]].concat();
    blob.extend(person.to_be_bytes());
    blob.extend([0; 16]);
    blob.extend(number.to_be_bytes());
    let text = serde_json::to_value(ByteString(blob)).context("writing a key")?;
    Ok(format!("ssh-ed25519 {} bench", text.as_str().context("base64 is text")?))
}
