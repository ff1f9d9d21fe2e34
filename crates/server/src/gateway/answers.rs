//! What each command answers: text for a person or JSON for a program, and an exit status.

use std::fmt::Write as _;

use fairlead_model::access::{self, Denied, State};
use fairlead_model::client_config::{GATEWAY_ALIAS, ssh_config};
use fairlead_model::{Person, Role, World};
use serde::Serialize;
use tracing::error;

use super::commands::{Command, HELP};
use super::connection::Connection;
use super::keys;
use crate::{clock, known_hosts};

/// Where `config` tells people to keep the gateway's and the notebooks' known hosts.
const KNOWN_HOSTS: &str = "~/.ssh/fairlead_known_hosts";

/// What stands in place of the keys to refuse that are not known, as a comment in `known_hosts`.
const INCOMPLETE: &str = "# the database does not answer: ask again later for the host keys to refuse\n";

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
    /// Whether a session keeps Kubeflow's culler away: never, it asks Jupyter alone.
    ssh_counts_as_activity: bool,
}

/// To standard error, so that what reads the list is not disturbed.
const CULLING: &str =
    "note: Kubeflow's culler, where it is on, does not see SSH and may stop a notebook that you are in\n";

impl Answer {
    pub(super) fn of(out: String) -> Self {
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
        (_, Command::Confirm { code, key }) => return keys::confirm(connection, &code, key.as_ref()).await,
        (None, _) => {
            connection.audit("request-refused", None, "claimed-key");
            return Answer::failed(1, "this key is not confirmed yet, and signs in for `confirm CODE` alone");
        }
        (Some(person), command) => (person, command),
    };
    match person {
        (person, Command::Whoami) => Answer::of(format!("{person}\n{}\n", connection.key)),
        (person, Command::Ls { json }) => ls(connection, person, json),
        (person, Command::Config) => Answer::of(config(connection, person).await),
        (person, Command::KeysList { json }) => keys::list(connection, person, json).await,
        (person, Command::KeysAdd { line }) => keys::add(connection, person, &line.unwrap_or_default()).await,
        (person, Command::KeysRemove { key }) => keys::remove(connection, person, &key).await,
        // Answered above.
        (_, Command::Help | Command::Confirm { .. }) => Answer::default(),
    }
}

fn ls(connection: &Connection, person: &Person, json: bool) -> Answer {
    let world = connection.shared.worlds.borrow().clone();
    let suffix = &connection.shared.settings.suffix;
    let line = |id: &fairlead_model::NotebookId, role: Role| {
        let denied = access::decide(&world, person, id).err();
        // Who opens no shell is told that; the others, how the notebook stands.
        let state = role.opens_shells().then(|| access::state(&world, id));
        Line {
            host: id.host(suffix),
            namespace: id.namespace.to_string(),
            notebook: id.name.to_string(),
            role: role.word(),
            state: state.map_or("viewer", State::word),
            reason: denied.map(Denied::told).or(state.and_then(State::told)),
            ssh_counts_as_activity: false,
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
    let out = lines.iter().fold(String::new(), |mut out, line| {
        let state = line.reason.unwrap_or(line.state);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{:width$}  {:5}  {state}", line.host, line.role);
        out
    });
    // It matters to those who can be in one.
    let reachable = lines.iter().any(|line| line.reason.is_none());
    let err = if reachable { CULLING.to_owned() } else { String::new() };
    Answer { out, err, status: 0 }
}

/// A file for `~/.ssh` that is its own instruction.
async fn config(connection: &Connection, person: &Person) -> String {
    let shared = &connection.shared;
    let settings = &shared.settings;
    let (host, port) = (settings.address.host(), settings.address.port());
    let (authorities, world) = (shared.known_hosts.borrow().clone(), shared.worlds.borrow().clone());
    let lines = known_hosts::of(person, &authorities, &settings.suffix, &world, &shared.store, clock::now()).await;
    let known = lines.unwrap_or_else(|error| {
        // Nobody has to wait for the database to get in: what it adds is said to be missing.
        error!(error = format!("{error:#}"), "`config` needs the database");
        authorities + INCOMPLETE
    });
    let known = known.trim_end().replace('\n', "\n#");
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

/// What went wrong inside is for the log alone.
pub(super) fn database(error: &anyhow::Error) -> Answer {
    error!(error = format!("{error:#}"), "a command needs the database");
    Answer::failed(1, "the database does not answer: try again in a moment")
}

pub(super) fn as_json(lines: &impl Serialize) -> Answer {
    match serde_json::to_string(lines) {
        Ok(text) => Answer::of(text + "\n"),
        Err(error) => Answer::failed(1, error),
    }
}
