//! What each command answers: text for a person or JSON for a program, and an exit status.

use std::fmt::Write as _;
use std::time::Duration;

use fairlead_model::access::{self, Denied};
use fairlead_model::client_config::{GATEWAY_ALIAS, ssh_config};
use fairlead_model::{Fingerprint, Person, PublicKey, Role, World};
use serde::Serialize;
use tracing::error;

use super::commands::{Command, HELP};
use super::connection::Connection;
use super::handler::CONFIRM;
use crate::clock::now;
use crate::store::keys::{KeyRefused, KeyRow};

/// Where `config` tells people to keep the gateway's and the notebooks' known hosts.
const KNOWN_HOSTS: &str = "~/.ssh/fairlead_known_hosts";
/// How long an answer waits for the change it reports to arrive in this process, so that what people type next works.
const ARRIVAL: Duration = Duration::from_secs(3);

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// To standard output.
    pub(super) out: String,
    /// To standard error.
    pub(super) err: String,
    /// 0; 1 where it could not be done; 2 where it was not understood.
    pub(super) status: u32,
}

/// A notebook in `ls`.
#[derive(Debug, Serialize)]
struct Line {
    host: String,
    namespace: String,
    notebook: String,
    role: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// A key in `keys list`.
#[derive(Debug, Serialize)]
struct KeyLine {
    fingerprint: String,
    #[serde(rename = "type")]
    kind: String,
    comment: String,
    added_ms: i64,
    confirmed_ms: Option<i64>,
    current: bool,
}

impl Answer {
    fn of(out: String) -> Self {
        Self { out, ..Self::default() }
    }

    pub(super) fn failed(status: u32, why: impl std::fmt::Display) -> Self {
        Self { out: String::new(), err: format!("error: {why}\n"), status }
    }
}

/// Runs a command.
pub(super) async fn answer(connection: &Connection, command: Command) -> Answer {
    let person = match (&connection.person, command) {
        (_, Command::Help) => return Answer::of(HELP.to_owned()),
        (_, Command::Confirm { code }) => return confirm(connection, &code).await,
        (None, _) => {
            connection.audit("request-refused", None, "claimed-key");
            return Answer::failed(1, "this key is not confirmed yet, and signs in for `confirm CODE` alone");
        }
        (Some(person), command) => (person, command),
    };
    match person {
        (person, Command::Whoami) => Answer::of(format!("{person}\n{}\n", connection.key)),
        (person, Command::Ls { json }) => ls(connection, person, json),
        (_, Command::Config) => Answer::of(config(connection)),
        (person, Command::KeysList { json }) => list_keys(connection, person, json).await,
        (person, Command::KeysAdd { line }) => add_key(connection, person, &line.unwrap_or_default()).await,
        (person, Command::KeysRemove { key }) => remove_key(connection, person, &key).await,
        // Answered above.
        (_, Command::Help | Command::Confirm { .. }) => Answer::default(),
    }
}

fn ls(connection: &Connection, person: &Person, json: bool) -> Answer {
    let world = connection.shared.worlds.borrow().clone();
    let suffix = &connection.shared.settings.suffix;
    let line = |id: &fairlead_model::NotebookId, role: Role| {
        let denied = access::decide(&world, person, id).err();
        Line {
            host: id.host(suffix),
            namespace: id.namespace.to_string(),
            notebook: id.name.to_string(),
            role: role.word(),
            state: denied.map_or("ready", Denied::word),
            reason: denied.map(Denied::told),
        }
    };
    let mine = |world: &World, id| world.role(person, id);
    let lines: Vec<Line> =
        world.notebooks().filter_map(|(id, _)| Some(line(id, mine(&world, &id.namespace)?))).collect();
    if json {
        return as_json(&lines);
    }
    if lines.is_empty() {
        return Answer::of("no notebooks in your profiles yet\n".to_owned());
    }
    let width = lines.iter().map(|line| line.host.len()).max().unwrap_or_default();
    Answer::of(lines.iter().fold(String::new(), |mut out, line| {
        let state = line.reason.unwrap_or(line.state);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:width$}  {:5}  {state}", line.host, line.role);
        out
    }))
}

/// A file for `~/.ssh` that is its own instruction.
fn config(connection: &Connection) -> String {
    let settings = &connection.shared.settings;
    let (host, port) = (settings.address.host(), settings.address.port());
    let known = connection.shared.known_hosts.borrow().trim_end().replace('\n', "\n#");
    let config = ssh_config(&settings.address, &settings.suffix, None, Some(KNOWN_HOSTS));
    format!(
        "# How to set this up:\n\
         # 1. Save this text as ~/.ssh/fairlead.conf:\n\
         #      ssh -p {port} -o HostKeyAlias={GATEWAY_ALIAS} {host} config > ~/.ssh/fairlead.conf\n\
         # 2. Make this the first line of ~/.ssh/config:\n\
         #      Include fairlead.conf\n\
         # 3. Save what follows up to the empty line, without the leading #, as {KNOWN_HOSTS}:\n\
         #{known}\n\n{config}"
    )
}

async fn list_keys(connection: &Connection, person: &Person, json: bool) -> Answer {
    let rows = match connection.shared.store.list_keys(Some(person), now()).await {
        Ok(rows) => rows,
        Err(error) => return database(&error),
    };
    let line = |row: &KeyRow| KeyLine {
        fingerprint: row.public.fingerprint().to_string(),
        kind: row.public.kind().to_owned(),
        comment: row.comment.clone(),
        added_ms: row.added.0,
        confirmed_ms: row.confirmed.map(|time| time.0),
        current: row.public.fingerprint() == &connection.key,
    };
    let lines: Vec<KeyLine> = rows.iter().map(line).collect();
    if json {
        return as_json(&lines);
    }
    Answer::of(lines.iter().fold(String::new(), |mut out, line| {
        let state = match (line.confirmed_ms, line.current) {
            (None, _) => "  (waits for `confirm`)",
            (_, true) => "  (this one)",
            _ => "",
        };
        let _ = writeln!(out, "{} {} {}{state}", line.fingerprint, line.kind, line.comment);
        out
    }))
}

async fn add_key(connection: &Connection, person: &Person, line: &str) -> Answer {
    let (key, comment) = match PublicKey::parse(line) {
        Ok(parsed) => parsed,
        Err(bad) => return Answer::failed(1, bad),
    };
    let shared = &connection.shared;
    let claim = match shared.store.claim_key(person, &key, &comment, now()).await {
        Ok(claim) => claim,
        Err(refused) => return key_refused(&refused),
    };
    connection.audit("key-claimed", Some(key.fingerprint().to_string()), "by the gateway's command");
    let fingerprint = key.fingerprint();
    let mut worlds = shared.worlds.clone();
    // Where it does not arrive in time, the answer is still true a moment later.
    let _ = tokio::time::timeout(ARRIVAL, worlds.wait_for(|world| world.is_claimed(fingerprint, now()))).await;
    let (host, port) = (shared.settings.address.host(), shared.settings.address.port());
    Answer::of(format!(
        "{fingerprint} is added, and counts once its holder has proved it, within an hour.\n\
         Run this where its private key is:\n  \
         ssh -i PRIVATE_KEY_FILE -o IdentitiesOnly=yes -o HostKeyAlias={GATEWAY_ALIAS} -l {CONFIRM} -p {port} {host} \
         confirm {code}\n",
        code = claim.code,
    ))
}

async fn confirm(connection: &Connection, code: &str) -> Answer {
    let shared = &connection.shared;
    match shared.store.confirm_key(code, &connection.key, now()).await {
        Ok(person) => {
            shared.recorder.audit(crate::store::audit::AuditEvent {
                at: now(),
                event: "key-confirmed".to_owned(),
                person: Some(person.to_string()),
                from: Some(connection.from.to_string()),
                object: Some(connection.key.to_string()),
                detail: None,
            });
            let mut worlds = shared.worlds.clone();
            let counts = |world: &std::sync::Arc<World>| world.person_of(&connection.key) == Some(&person);
            let _ = tokio::time::timeout(ARRIVAL, worlds.wait_for(counts)).await;
            Answer::of(format!("{} is now a key of {person}\n", connection.key))
        }
        Err(refused) => {
            connection.audit("confirm-refused", Some(connection.key.to_string()), "bad code");
            key_refused(&refused)
        }
    }
}

async fn remove_key(connection: &Connection, person: &Person, key: &Fingerprint) -> Answer {
    match connection.shared.store.remove_key(person, key).await {
        Ok(true) => {
            connection.audit("key-removed", Some(key.to_string()), "by the gateway's command");
            Answer::of(format!("{key} is removed\n"))
        }
        Ok(false) => Answer::failed(1, "you have no such key\nhint: `keys list` lists them"),
        Err(error) => database(&error),
    }
}

fn key_refused(refused: &KeyRefused) -> Answer {
    match refused {
        KeyRefused::Store(error) => database(error),
        other => Answer::failed(1, other),
    }
}

/// What went wrong inside is for the log alone.
fn database(error: &anyhow::Error) -> Answer {
    error!(error = format!("{error:#}"), "a command needs the database");
    Answer::failed(1, "the database does not answer: try again in a moment")
}

fn as_json(lines: &impl Serialize) -> Answer {
    match serde_json::to_string(lines) {
        Ok(text) => Answer::of(text + "\n"),
        Err(error) => Answer::failed(1, error),
    }
}
