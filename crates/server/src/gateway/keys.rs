//! The commands about keys: `keys list`, `keys add`, `keys remove` and `confirm`.

use std::fmt::Write as _;
use std::time::Duration;

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::{Fingerprint, Person, PublicKey, World};
use serde::Serialize;

use super::answers::{Answer, as_json, database};
use super::connection::Connection;
use super::handler::CONFIRM;
use crate::clock::{self, now};
use crate::store::audit::AuditEvent;
use crate::store::keys::{Confirmed, KeyRefused, KeyRow, Needs};

/// How long an answer waits for the change it reports to arrive in this process, so that what people type next works.
const ARRIVAL: Duration = Duration::from_secs(3);

/// A key in `keys list`.
#[derive(Debug, Serialize)]
struct Line {
    fingerprint: String,
    #[serde(rename = "type")]
    kind: String,
    comment: String,
    added_ms: i64,
    confirmed_ms: Option<i64>,
    /// A claim's end, or when it stops counting.
    expires_ms: Option<i64>,
    used_ms: Option<i64>,
    needs: Needs,
    current: bool,
}

/// `keys list`.
pub(super) async fn list(connection: &Connection, person: &Person, json: bool) -> Answer {
    let rows = match connection.shared.store.list_keys(Some(person), now()).await {
        Ok(rows) => rows,
        Err(error) => return database(&error),
    };
    if json {
        let lines: Vec<Line> = rows.iter().map(|row| line(row, &connection.key)).collect();
        return as_json(&lines);
    }
    Answer::of(rows.iter().fold(String::new(), |mut out, row| {
        let (key, comment) = (&row.public, &row.comment);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{} {} {comment}{}", key.fingerprint(), key.kind(), state(row, &connection.key));
        out
    }))
}

fn line(row: &KeyRow, current: &Fingerprint) -> Line {
    Line {
        fingerprint: row.public.fingerprint().to_string(),
        kind: row.public.kind().to_owned(),
        comment: row.comment.clone(),
        added_ms: row.added.0,
        confirmed_ms: row.confirmed.map(|time| time.0),
        expires_ms: row.expires.map(|time| time.0),
        used_ms: row.used.map(|time| time.0),
        needs: row.needs,
        current: row.public.fingerprint() == current,
    }
}

/// What follows a key in the list.
fn state(row: &KeyRow, current: &Fingerprint) -> String {
    match row.needs {
        Needs { own: true, older: false } => return "  (waits for `confirm`)".to_owned(),
        Needs { own: true, older: true } => return "  (waits for `confirm` with it and with an older key)".to_owned(),
        Needs { own: false, older: true } => return "  (waits for `confirm` with an older key)".to_owned(),
        Needs { own: false, older: false } => {}
    }
    let used = row.used.map_or_else(|| "never used".to_owned(), |used| format!("last used {}", clock::text(used)));
    let expires = match row.expires {
        Some(end) if end <= now() => format!(", expired {}", clock::text(end)),
        Some(end) => format!(", expires {}", clock::text(end)),
        None => String::new(),
    };
    let this = if row.public.fingerprint() == current { "  (this one)" } else { "" };
    format!("  {used}{expires}{this}")
}

/// `keys add`: asked for by a confirmed key's holder, so no older key has to approve.
pub(super) async fn add(connection: &Connection, person: &Person, line: &str) -> Answer {
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
    Answer::of(format!(
        "{fingerprint} is added, and counts once its holder has proved it, within an hour.\n{}",
        with_the_key_itself(connection, &claim.code)
    ))
}

/// `confirm CODE`, with the claimed key itself; with an older one it approves nothing without the key's fingerprint.
pub(super) async fn confirm(connection: &Connection, code: &str, key: Option<&Fingerprint>) -> Answer {
    let (shared, with) = (&connection.shared, &connection.key);
    let signed_in_as = connection.person.as_ref();
    let confirmed = match (signed_in_as, key) {
        (None, Some(key)) if key != with => Err(KeyRefused::BadCode),
        (None, _) => shared.store.confirm_key(code, with, now()).await,
        (Some(person), Some(key)) => shared.store.approve_key(code, key, with, person, now()).await,
        (Some(person), None) => match shared.store.claim_by_code(code, with, person, now()).await {
            Ok(claim) => return Answer::of(claimed(&claim, code)),
            Err(refused) => Err(refused),
        },
    };
    let confirmed = match confirmed {
        Ok(confirmed) => confirmed,
        Err(refused) => {
            connection.audit("confirm-refused", Some(connection.key.to_string()), "bad code");
            return key_refused(&refused);
        }
    };
    let (Confirmed::Counts(_, key) | Confirmed::StillNeeds(_, key, _)) = &confirmed;
    if signed_in_as.is_some() {
        connection.audit("key-approved", Some(key.to_string()), format!("by {}", connection.key));
    }
    match confirmed {
        Confirmed::Counts(person, key) => {
            shared.recorder.audit(AuditEvent {
                at: now(),
                event: "key-confirmed".to_owned(),
                person: Some(person.to_string()),
                from: Some(connection.from.to_string()),
                object: Some(key.to_string()),
                detail: None,
            });
            let mut worlds = shared.worlds.clone();
            let counts = |world: &std::sync::Arc<World>| world.person_of(&key) == Some(&person);
            let _ = tokio::time::timeout(ARRIVAL, worlds.wait_for(counts)).await;
            Answer::of(format!("{key} is now a key of {person}\n"))
        }
        Confirmed::StillNeeds(_, key, Needs { own: true, .. }) => Answer::of(format!(
            "{key} does not count yet: it has to sign, too.\n{}",
            with_the_key_itself(connection, code)
        )),
        Confirmed::StillNeeds(person, key, _) if shared.worlds.borrow().keys_of(&person).next().is_none() => {
            Answer::of(format!(
                "{key} does not count yet: an older key of {person} has to approve it, and none counts any more.\n\
                 Ask your admin: fairlead-server keys add\n"
            ))
        }
        Confirmed::StillNeeds(person, key, _) => Answer::of(format!(
            "{key} does not count yet: an older key of {person} has to approve it.\n\
             Run this on a computer where SSH works already:\n{}",
            approval(code, &key)
        )),
    }
}

/// Which key a code is of, for whoever could approve it: a page that notebooks can script may have shown another's.
fn claimed(claim: &KeyRow, code: &str) -> String {
    let key = &claim.public;
    format!(
        "this code is of a key that asks to be yours:\n  \
         type         {}\n  \
         fingerprint  {}\n  \
         comment      {}\n  \
         claimed      {}\n\
         nothing is approved yet. Compare the fingerprint with what the NEW computer shows\n\
         (`ssh-keygen -lf ~/.ssh/id_....pub`), and only if it is the same, approve it:\n{}",
        key.kind(),
        key.fingerprint(),
        claim.comment,
        clock::text(claim.added),
        approval(code, key.fingerprint())
    )
}

/// The command that approves a key, for a computer where SSH works already.
fn approval(code: &str, key: &Fingerprint) -> String {
    format!("  ssh {GATEWAY_ALIAS} confirm {} {key}\n", typed(code))
}

/// `keys remove`.
pub(super) async fn remove(connection: &Connection, person: &Person, key: &Fingerprint) -> Answer {
    match connection.shared.store.remove_key(person, key).await {
        Ok(true) => {
            connection.audit("key-removed", Some(key.to_string()), "by the gateway's command");
            Answer::of(format!("{key} is removed\n"))
        }
        Ok(false) => Answer::failed(1, "you have no such key\nhint: `keys list` lists them"),
        Err(error) => database(&error),
    }
}

fn with_the_key_itself(connection: &Connection, code: &str) -> String {
    let (host, port) = address(connection);
    format!(
        "Run this where its private key is:\n  \
         ssh -i PRIVATE_KEY_FILE -o IdentitiesOnly=yes -o HostKeyAlias={GATEWAY_ALIAS} -l {CONFIRM} -p {port} {host} \
         confirm {}\n",
        typed(code)
    )
}

fn address(connection: &Connection) -> (&str, u16) {
    let address = &connection.shared.settings.address;
    (address.host(), address.port())
}

/// A code as it was shown, whatever was typed around it: this goes into a command that somebody pastes.
fn typed(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_uppercase()
}

fn key_refused(refused: &KeyRefused) -> Answer {
    match refused {
        KeyRefused::Store(error) => database(error),
        other => Answer::failed(1, other),
    }
}
