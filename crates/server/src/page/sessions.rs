//! Sessions: who was in which notebook. People see their own, owners those of their profiles, admins all.

use std::collections::BTreeMap;

use fairlead_model::{Label, Role, Time};
use serde::Serialize;

use super::plain::plain;
use super::{Page, Refused, Visitor};
use crate::clock::now;
use crate::store::audit::AuditEvent;
use crate::store::sessions::{Scope, SessionBegin, SessionEnd, SessionQuery};

/// How many are shown at once.
const SHOWN: i64 = 50;
/// How many one file has, at most: the newest.
const EXPORTED: i64 = 10_000;
const EXPORTED_AT_ONCE: i64 = 500;

/// A session as its page and JSON show it. Times are Unix milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct SessionView {
    pub(super) id: String,
    pub(super) person: String,
    pub(super) namespace: String,
    pub(super) notebook: String,
    /// The key's fingerprint.
    pub(super) key: String,
    /// The client's address and port.
    pub(super) from: String,
    pub(super) client: String,
    pub(super) way: String,
    pub(super) began_ms: i64,
    pub(super) ended_ms: Option<i64>,
    pub(super) bytes_up: i64,
    pub(super) bytes_down: i64,
    /// How it ended.
    pub(super) reason: Option<String>,
}

/// Some sessions, newest first.
#[derive(Debug, Serialize)]
pub(super) struct Sessions {
    pub(super) sessions: Vec<SessionView>,
    /// Where the next older ones begin.
    pub(super) next: Option<String>,
}

/// Which of those that one may see.
#[derive(Debug, Clone, Default, serde::Deserialize)]
pub(super) struct Wanted {
    /// A piece of a person, notebook, address or reason.
    #[serde(default)]
    pub(super) text: String,
    /// Anything here: only those that go on.
    #[serde(default)]
    pub(super) live: String,
    /// From [`Sessions::next`].
    #[serde(default)]
    pub(super) before: String,
}

impl SessionView {
    fn new((begin, end): (SessionBegin, Option<SessionEnd>), live: &BTreeMap<String, (i64, i64)>) -> Self {
        let so_far = || live.get(&begin.id).copied().unwrap_or_default();
        let (bytes_up, bytes_down) = end.as_ref().map_or_else(so_far, |end| (end.bytes_up, end.bytes_down));
        Self {
            id: begin.id,
            person: begin.person.to_string(),
            namespace: begin.notebook.namespace.to_string(),
            notebook: begin.notebook.name.to_string(),
            key: begin.key.to_string(),
            from: plain(&begin.from),
            client: plain(&begin.client),
            way: plain(&begin.way),
            began_ms: begin.at.0,
            ended_ms: end.as_ref().map(|end| end.at.0),
            bytes_up,
            bytes_down,
            reason: end.map(|end| plain(&end.reason)),
        }
    }
}

/// Some of the sessions that the visitor may see.
pub(super) async fn list(page: &Page, visitor: &Visitor, wanted: &Wanted) -> Result<Sessions, Refused> {
    let before = cursor(&wanted.before)?;
    let _turn = page.reads.turn(&visitor.person).await?;
    some(page, visitor, wanted, before, SHOWN).await
}

async fn some(
    page: &Page,
    visitor: &Visitor,
    wanted: &Wanted,
    before: Option<(Time, String)>,
    limit: i64,
) -> Result<Sessions, Refused> {
    if wanted.text.len() > 200 {
        return Err(Refused::BadForm);
    }
    let owned = owned(page, visitor);
    let scope =
        if visitor.admin { Scope::All } else { Scope::Profiles { person: &visitor.person, namespaces: &owned } };
    let query = SessionQuery { scope, text: &wanted.text, live_only: !wanted.live.is_empty(), before, limit };
    let found = page.store.find_sessions(&query).await?;
    let is_live = found.sessions.iter().any(|(_, end)| end.is_none());
    let live = if is_live { page.store.live_bytes().await? } else { BTreeMap::new() };
    let next = found.next.map(|(time, id)| format!("{}-{id}", time.0));
    let sessions = found.sessions.into_iter().map(|session| SessionView::new(session, &live)).collect();
    Ok(Sessions { sessions, next })
}

/// The same as a file, newest first. Where there are more than a file has, its last line is `truncated`.
pub(super) async fn csv(page: &Page, visitor: &Visitor, wanted: &Wanted) -> Result<String, Refused> {
    let mut file =
        "began,ended,person,namespace,notebook,way,from,client,key,bytes_up,bytes_down,reason\r\n".to_owned();
    let _turn = page.reads.turn(&visitor.person).await?;
    let mut before = None;
    for _ in 0..EXPORTED / EXPORTED_AT_ONCE {
        let found = some(page, visitor, wanted, before, EXPORTED_AT_ONCE).await?;
        for session in &found.sessions {
            file += &line(session);
        }
        let Some(next) = found.next else { return Ok(file) };
        before = cursor(&next)?;
    }
    // Whoever counts lines must not take this for everything.
    Ok(file + "truncated\r\n")
}

/// Asks the gateway that carries it to end a session.
pub(super) async fn end(page: &Page, visitor: &Visitor, id: &str) -> Result<(), Refused> {
    let (begin, _) = page.store.session(id).await?.ok_or(Refused::NotFound)?;
    let own = begin.person == visitor.person;
    let in_profile = |(name, since): &(Label, Time)| *name == begin.notebook.namespace && *since <= begin.at;
    if !own && !visitor.admin && !owned(page, visitor).iter().any(in_profile) {
        return Err(Refused::NotFound);
    }
    // One that has ended already is as the visitor wants it.
    page.store.ask_end(id, &visitor.person, now()).await?;
    page.recorder.audit(AuditEvent {
        at: now(),
        event: "session-end-asked".to_owned(),
        person: Some(visitor.person.to_string()),
        from: visitor.from.map(|from| from.to_string()),
        object: Some(begin.notebook.to_string()),
        detail: Some(format!("session {id} of {}", begin.person)),
    });
    Ok(())
}

/// The visitor's own profiles, each since its namespace was made: a freed name is taken again, and what was before is
/// somebody else's. Where that is unknown, there is nothing to see.
fn owned(page: &Page, visitor: &Visitor) -> Vec<(Label, Time)> {
    let world = page.worlds.borrow().clone();
    let owned = world.namespaces_of(&visitor.person);
    let owned = owned.filter(|space| world.role(&visitor.person, space) == Some(Role::Owner));
    owned.filter_map(|space| Some((space.clone(), world.made(space)?))).collect()
}

fn cursor(text: &str) -> Result<Option<(Time, String)>, Refused> {
    if text.is_empty() {
        return Ok(None);
    }
    let (time, id) = text.split_once('-').ok_or(Refused::BadForm)?;
    let time = time.parse().map_err(|_| Refused::BadForm)?;
    // An id is 32 hexadecimal digits; PostgreSQL would break off at a NUL.
    if id.is_empty() || id.len() > 64 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Refused::BadForm);
    }
    Ok(Some((Time(time), id.to_owned())))
}

fn line(session: &SessionView) -> String {
    let (up, down) = (session.bytes_up.to_string(), session.bytes_down.to_string());
    let time = |millis: i64| super::when::second(millis);
    let cells = [
        time(session.began_ms),
        session.ended_ms.map(time).unwrap_or_default(),
        session.person.clone(),
        session.namespace.clone(),
        session.notebook.clone(),
        session.way.clone(),
        session.from.clone(),
        session.client.clone(),
        session.key.clone(),
        up,
        down,
        session.reason.clone().unwrap_or_default(),
    ];
    cells.map(|cell| cell_of(&cell)).join(",") + "\r\n"
}

/// A cell of RFC 4180. One that a spreadsheet would compute becomes text: a client's version string is a stranger's.
fn cell_of(text: &str) -> String {
    let computes = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if computes { format!("'{text}") } else { text.to_owned() };
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_text_and_one_cell() {
        for (text, cell) in [
            ("a", "\"a\""),
            ("a,\"b\"\n", "\"a,\"\"b\"\"\n\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("-1", "\"'-1\""),
        ] {
            assert_eq!(cell_of(text), cell);
        }
    }
}
