//! `fairlead-server keys …`: public keys that count at once, because an admin says whose they are.

use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use fairlead_model::{Fingerprint, Person, PublicKey};

use super::import::{self, Whose};
use super::say;
use crate::clock;
use crate::settings::Database;
use crate::store::Store;
use crate::store::audit::AuditEvent;
use crate::store::keys::KeyRow;

/// A file that is longer holds no keys.
const MAX_FILE: u64 = 1 << 20;

/// `keys` and where its database is.
#[derive(Debug, Args)]
pub struct Keys {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add a key that counts at once
    Add {
        /// Whose it is: the Kubeflow user id, its case as Kubeflow has it
        #[arg(value_parser = person)]
        person: Person,
        /// A `.pub` file, or - for standard input
        file: PathBuf,
    },
    /// Show keys, and claims that still run
    List {
        /// Whose; everybody's where none is given
        #[arg(value_parser = person)]
        person: Option<Person>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a key: its sessions end within a second
    Remove {
        /// Whose it is
        #[arg(value_parser = person)]
        person: Person,
        /// As `keys list` shows it: SHA256:…
        #[arg(value_parser = fingerprint)]
        fingerprint: Fingerprint,
    },
    /// Add all keys of `authorized_keys` files, or none where something is wrong with one of them
    Import {
        /// A file, or a folder with all files below it
        path: PathBuf,
        #[command(flatten)]
        whose: ImportWhose,
        /// Say what would be added, and add nothing
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ImportWhose {
    /// Whose all of them are
    #[arg(long, value_parser = person)]
    person: Option<Person>,
    /// The name of each file or folder right inside PATH is the person; a single file's own name
    #[arg(long)]
    by_file_name: bool,
}

/// Runs one of the commands.
pub async fn run(keys: Keys) -> Result<()> {
    let store = Store::open(&keys.database.url).await?;
    match keys.command {
        Command::Add { person, file } => add(&store, &person, &file).await,
        Command::List { person, json } => list(&store, person.as_ref(), json).await,
        Command::Remove { person, fingerprint } => remove(&store, &person, &fingerprint).await,
        Command::Import { path, whose, dry_run } => {
            let whose = whose.person.map_or(Whose::ByFileName, Whose::One);
            import::run(&store, &path, &whose, dry_run).await
        }
    }
}

async fn add(store: &Store, person: &Person, file: &Path) -> Result<()> {
    let text = if file == Path::new("-") {
        text_of(stdin().lock()).context("reading a key from standard input")?
    } else {
        read(file)?
    };
    let (key, comment) = PublicKey::parse(&text)?;
    store.add_key(person, &key, &comment, clock::now()).await?;
    note(store, "key-added", person, key.fingerprint()).await?;
    say(format!("added {} of {person}", key.fingerprint()));
    Ok(())
}

async fn list(store: &Store, person: Option<&Person>, json: bool) -> Result<()> {
    let keys = store.list_keys(person, clock::now()).await?;
    if json {
        let all: Vec<_> = keys.iter().map(as_json).collect();
        say(serde_json::to_string_pretty(&all).context("writing keys as JSON")?);
        return Ok(());
    }
    for key in &keys {
        let state = key.confirmed.map_or_else(|| "claimed".to_owned(), clock::text);
        let (fingerprint, kind) = (key.public.fingerprint(), key.public.kind());
        say(format!("{fingerprint}  {state:<20}  {kind:<11}  {}  {}", key.person, key.comment).trim_end());
    }
    Ok(())
}

async fn remove(store: &Store, person: &Person, key: &Fingerprint) -> Result<()> {
    if !store.remove_key(person, key).await? {
        bail!("`{person}` has no key {key}\nhint: fairlead-server keys list {person}");
    }
    note(store, "key-removed", person, key).await?;
    say(format!("removed {key} of {person}"));
    Ok(())
}

/// Leaves a trace of what an admin did.
pub(super) async fn note(store: &Store, event: &str, person: &Person, key: &Fingerprint) -> Result<()> {
    let event = AuditEvent {
        at: clock::now(),
        event: event.to_owned(),
        person: Some(person.to_string()),
        from: None,
        object: Some(key.to_string()),
        detail: Some("by an admin at the command line".to_owned()),
    };
    store.audit(&event).await
}

/// A small file of text.
pub(super) fn read(path: &Path) -> Result<String> {
    let file = std::fs::File::open(path).with_context(|| format!("opening `{}`", path.display()))?;
    text_of(file).with_context(|| format!("reading `{}`", path.display()))
}

fn text_of(source: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    source.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("longer than 1 MiB, so these are no public keys");
    }
    String::from_utf8(bytes).ok().context("not text in UTF-8")
}

fn as_json(key: &KeyRow) -> serde_json::Value {
    serde_json::json!({
        "person": key.person,
        "fingerprint": key.public.fingerprint(),
        "type": key.public.kind(),
        "line": key.public.line(),
        "comment": key.comment,
        "added": clock::text(key.added),
        "confirmed": key.confirmed.map(clock::text),
    })
}

fn person(text: &str) -> Result<Person, String> {
    Person::parse(text).map_err(|error| error.to_string())
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).ok_or_else(|| "a fingerprint is SHA256: and 43 characters".to_owned())
}
