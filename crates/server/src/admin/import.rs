//! `fairlead-server keys import`: `authorized_keys` files as other systems keep them, all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fairlead_model::{Fingerprint, Person, PublicKey};

use super::keys::{note, read};
use super::say;
use crate::clock;
use crate::store::Store;
use crate::store::keys::MAX_KEYS;

/// Whose the keys are.
#[derive(Debug)]
pub(super) enum Whose {
    /// One person's.
    One(Person),
    /// Whose name the file or folder has.
    ByFileName,
}

/// A key of a file.
struct Found {
    place: String,
    person: Person,
    key: PublicKey,
    comment: String,
}

/// Reads everything below `path`, and adds it where nothing is wrong with any of it.
pub(super) async fn run(store: &Store, path: &Path, whose: &Whose, dry_run: bool) -> Result<()> {
    let mut problems = Vec::new();
    let found = find(path, whose, &mut problems)?;
    let (new, there) = compare(store, found, &mut problems).await?;
    if !problems.is_empty() {
        bail!("nothing was imported:\n{}", problems.join("\n"));
    }
    for Found { person, key, comment, .. } in &new {
        if !dry_run {
            let added = store.add_key(person, key, comment, clock::now()).await;
            added.with_context(|| format!("adding {} of `{person}`", key.fingerprint()))?;
            note(store, "key-added", person, key.fingerprint()).await?;
        }
        say(format!("{} {} of {person}", if dry_run { "would add" } else { "added" }, key.fingerprint()));
    }
    say(format!("{} {}, {there} there already", new.len(), if dry_run { "to add" } else { "added" }));
    Ok(())
}

/// All keys of all files.
fn find(path: &Path, whose: &Whose, problems: &mut Vec<String>) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let is_folder = fs::metadata(path).with_context(|| format!("looking at `{}`", path.display()))?.is_dir();
    let below = if is_folder && matches!(whose, Whose::ByFileName) { entries(path)? } else { vec![path.to_owned()] };
    for entry in below {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        let person = match whose {
            Whose::One(person) => person.clone(),
            // A hidden file is no person.
            Whose::ByFileName if name.starts_with('.') => continue,
            Whose::ByFileName => match Person::parse(&name) {
                Ok(person) => person,
                Err(error) => {
                    problems.push(format!("{}: its name is to be a person: {error}", entry.display()));
                    continue;
                }
            },
        };
        for file in files(&entry)? {
            match read(&file) {
                Ok(text) => found.extend(lines(&file, &text, &person, problems)),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
    }
    Ok(found)
}

/// The keys of one file. Empty lines and comments are none.
fn lines(file: &Path, text: &str, person: &Person, problems: &mut Vec<String>) -> Vec<Found> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), number + 1);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match PublicKey::parse(line) {
            Ok((key, comment)) => found.push(Found { place, person: person.clone(), key, comment }),
            Err(error) => {
                let reason = error.to_string();
                // Its hint is for the person whose key it is.
                problems.push(format!("{place}: {}", reason.lines().next().unwrap_or_default()));
            }
        }
    }
    found
}

/// Which keys are new, and how many are there already. What could not be added is a problem.
async fn compare(store: &Store, found: Vec<Found>, problems: &mut Vec<String>) -> Result<(Vec<Found>, usize)> {
    let mut owners = BTreeMap::<Fingerprint, Person>::new();
    let mut counts = BTreeMap::<Person, BTreeSet<Fingerprint>>::new();
    for row in store.list_keys(None, clock::now()).await? {
        counts.entry(row.person.clone()).or_default().insert(row.public.fingerprint().clone());
        if row.confirmed.is_some() {
            owners.insert(row.public.fingerprint().clone(), row.person);
        }
    }
    let (mut new, mut there) = (Vec::new(), 0);
    for found in found {
        let fingerprint = found.key.fingerprint();
        match owners.get(fingerprint) {
            Some(owner) if *owner == found.person => there += 1,
            Some(owner) => problems.push(format!("{}: this key is `{owner}`'s already", found.place)),
            None => {
                let count = counts.entry(found.person.clone()).or_default();
                count.insert(fingerprint.clone());
                if count.len() > usize::try_from(MAX_KEYS).unwrap_or(usize::MAX) {
                    problems.push(format!("{}: `{}` would have more than {MAX_KEYS} keys", found.place, found.person));
                }
                owners.insert(fingerprint.clone(), found.person.clone());
                new.push(found);
            }
        }
    }
    Ok((new, there))
}

/// A file itself, or all files below a folder. Links to folders are not followed: they could lead in circles.
fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let kind = fs::symlink_metadata(path).with_context(|| format!("looking at `{}`", path.display()))?;
    if !kind.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let below: Vec<Vec<PathBuf>> = entries(path)?.iter().map(|entry| files(entry)).collect::<Result<_>>()?;
    Ok(below.concat())
}

/// What is in a folder, in the order of names.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let reading = || format!("reading the folder `{}`", folder.display());
    let entries = fs::read_dir(folder).with_context(reading)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().with_context(reading)?;
    paths.sort();
    Ok(paths)
}
