//! A session's row and what it says.

use anyhow::{Context, Result};
use fairlead_model::{Fingerprint, NotebookId, Person, Time};

use super::{SessionBegin, SessionEnd};

/// The columns, for every query.
pub(super) const COLUMNS: &str = "id, gateway, person, fingerprint, namespace, notebook, pod, way, client_address,
    client_version, began, ended, bytes_up, bytes_down, reason";

/// As the database has it.
#[derive(sqlx::FromRow)]
pub(super) struct Row {
    pub(super) id: String,
    gateway: String,
    person: String,
    fingerprint: String,
    namespace: String,
    notebook: String,
    pod: String,
    way: String,
    client_address: String,
    client_version: String,
    pub(super) began: i64,
    ended: Option<i64>,
    bytes_up: i64,
    bytes_down: i64,
    reason: Option<String>,
}

impl Row {
    /// The session, unless a part of it is none.
    pub(super) fn parse(self) -> Option<(SessionBegin, Option<SessionEnd>)> {
        let id = self.id.clone();
        let parsed = || -> Result<_> {
            let end = self.ended.map(|ended| SessionEnd {
                id: self.id.clone(),
                at: Time(ended),
                bytes_up: self.bytes_up,
                bytes_down: self.bytes_down,
                reason: self.reason.unwrap_or_default(),
            });
            let begin = SessionBegin {
                id: self.id,
                gateway: self.gateway,
                person: Person::parse(&self.person)?,
                key: Fingerprint::parse(&self.fingerprint).context("not a fingerprint")?,
                notebook: NotebookId::parse(&self.namespace, &self.notebook)?,
                pod: self.pod,
                way: self.way,
                from: self.client_address,
                client: self.client_version,
                at: Time(self.began),
            };
            Ok((begin, end))
        };
        parsed().inspect_err(|error| tracing::warn!(%error, %id, "a session in the database does not parse")).ok()
    }
}
