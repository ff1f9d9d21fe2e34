//! `fairlead-server keys …`: public keys that count at once, because an admin says whose they are.

use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use fairlead_model::{Fingerprint, Person, PublicKey, Time};

use super::import::{self, Whose};
use super::say;
use crate::clock;
use crate::settings::Database;
use crate::store::Store;
use crate::store::audit::AuditEvent;
use crate::store::keys::KeyRow;

/// A file that is longer holds no keys.
const MAX_FILE: u64 = 1 << 20;
/// One day, in seconds.
const DAY: i64 = 86_400;
/// Ten years: more is a mistake.
const MAX_DAYS: i64 = 3650;

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
        /// When it stops counting: `90d` for days from now, or a date as 2027-01-31 for its beginning in UTC
        #[arg(long, value_name = "DAYS_OR_DATE", value_parser = expiry)]
        expires: Option<Expiry>,
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

/// When a key is to stop counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expiry {
    Days(i64),
    At(Time),
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
        Command::Add { person, file, expires } => add(&store, &person, &file, expires).await,
        Command::List { person, json } => list(&store, person.as_ref(), json).await,
        Command::Remove { person, fingerprint } => remove(&store, &person, &fingerprint).await,
        Command::Import { path, whose, dry_run } => {
            let whose = whose.person.map_or(Whose::ByFileName, Whose::One);
            import::run(&store, &path, &whose, dry_run).await
        }
    }
}

async fn add(store: &Store, person: &Person, file: &Path, expires: Option<Expiry>) -> Result<()> {
    let now = clock::now();
    let ends = expires.map(|expires| expires.after(now)).transpose()?;
    let text = if file == Path::new("-") {
        text_of(stdin().lock()).context("reading a key from standard input")?
    } else {
        read(file)?
    };
    let (key, comment) = PublicKey::parse(&text)?;
    store.add_key_until(person, &key, &comment, ends, now).await?;
    note(store, "key-added", person, key.fingerprint()).await?;
    let until = ends.map_or_else(String::new, |ends| format!(", until {}", clock::text(ends)));
    say(format!("added {} of {person}{until}", key.fingerprint()));
    Ok(())
}

async fn list(store: &Store, person: Option<&Person>, json: bool) -> Result<()> {
    let now = clock::now();
    let keys = store.list_keys(person, now).await?;
    if json {
        let all: Vec<_> = keys.iter().map(as_json).collect();
        say(serde_json::to_string_pretty(&all).context("writing keys as JSON")?);
        return Ok(());
    }
    for key in &keys {
        let since = |word: &str, time: Option<Time>| time.map(|time| format!("{word} {}", clock::text(time)));
        let state = key.confirmed.map_or_else(|| "claimed".to_owned(), clock::text);
        let used = since("used", key.used).unwrap_or_else(|| "never used".to_owned());
        let word = if key.expires.is_some_and(|end| end <= now) { "expired" } else { "expires" };
        let expires = since(word, key.expires).unwrap_or_else(|| "never expires".to_owned());
        let (fingerprint, kind) = (key.public.fingerprint(), key.public.kind());
        let line = format!(
            "{fingerprint}  {state:<20}  {used:<25}  {expires:<28}  {kind:<11}  {}  {}",
            key.person, key.comment
        );
        say(line.trim_end());
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
        "expires": key.expires.map(clock::text),
        "used": key.used.map(clock::text),
        "needs": key.needs,
    })
}

impl Expiry {
    fn after(self, now: Time) -> Result<Time> {
        match self {
            Self::Days(days) => Ok(now.plus_seconds(days * DAY)),
            Self::At(time) if time > now => Ok(time),
            Self::At(time) => bail!("`--expires`: {} is over, so this key would never count", clock::text(time)),
        }
    }
}

fn expiry(text: &str) -> Result<Expiry, String> {
    let wanted = || format!("days as `90d`, at most {MAX_DAYS}, or a date as `2027-01-31`");
    if let Some(days) = text.strip_suffix('d') {
        let days = days.parse::<u16>().ok().map(i64::from).filter(|days| (1..=MAX_DAYS).contains(days));
        return days.map(Expiry::Days).ok_or_else(wanted);
    }
    let date = text.parse::<jiff::civil::Date>().ok();
    // The parser also takes a time behind the date, and drops it.
    let date = date.filter(|date| date.to_string() == text).ok_or_else(wanted)?;
    let begin = date.to_zoned(jiff::tz::TimeZone::UTC).map_err(|_| wanted())?;
    Ok(Expiry::At(Time(begin.timestamp().as_millisecond())))
}

fn person(text: &str) -> Result<Person, String> {
    Person::parse(text).map_err(|error| error.to_string())
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).ok_or_else(|| "a fingerprint is SHA256: and 43 characters".to_owned())
}
