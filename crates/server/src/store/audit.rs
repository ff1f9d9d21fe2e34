//! Audit events: what was refused or changed, and for whom.

use anyhow::{Context, Result};
use fairlead_model::Time;
use sqlx::AnyConnection;

use super::Store;
use crate::random;

/// One line of the audit trail. The same goes to the log as JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditEvent {
    /// When.
    pub at: Time,
    /// What: `key-added`, `key-confirmed`, `key-removed`, `sign-in-refused`, `target-refused`, `session-cut`, …
    pub event: String,
    /// Who did it or was refused, where that is known.
    pub person: Option<String>,
    /// The client's address, where there is one.
    pub from: Option<String>,
    /// To what: a notebook, a fingerprint.
    pub object: Option<String>,
    /// The reason or whatever else belongs to it, in a few words.
    pub detail: Option<String>,
}

impl Store {
    /// Writes an event.
    pub async fn audit(&self, event: &AuditEvent) -> Result<()> {
        let id = random::id()?;
        let write = self.call(async |conn| insert(conn, &id, event).await).await;
        write.context("writing an audit event")
    }

    /// The newest events first, at most `limit`.
    pub async fn list_audit(&self, limit: i64) -> Result<Vec<AuditEvent>> {
        let sql = "select at, event, person, client_address, object, detail from audit
            order by at desc, id desc limit $1";
        let list =
            async |conn: &mut AnyConnection| sqlx::query_as::<_, Row>(sql).bind(limit.max(0)).fetch_all(conn).await;
        let rows = self.call(list).await.context("reading audit events")?;
        Ok(rows.into_iter().map(Row::into_event).collect())
    }
}

/// Writes an event once, however often that is tried: `id` belongs to it.
pub(super) async fn insert(conn: &mut AnyConnection, id: &str, event: &AuditEvent) -> sqlx::Result<()> {
    let sql = "insert into audit (id, at, event, person, client_address, object, detail)
        values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing";
    let insert = sqlx::query(sql).bind(id).bind(event.at.0).bind(event.event.as_str()).bind(event.person.as_deref());
    let insert = insert.bind(event.from.as_deref()).bind(event.object.as_deref()).bind(event.detail.as_deref());
    insert.execute(conn).await.map(drop)
}

#[derive(sqlx::FromRow)]
struct Row {
    at: i64,
    event: String,
    person: Option<String>,
    client_address: Option<String>,
    object: Option<String>,
    detail: Option<String>,
}

impl Row {
    fn into_event(self) -> AuditEvent {
        AuditEvent {
            at: Time(self.at),
            event: self.event,
            person: self.person,
            from: self.client_address,
            object: self.object,
            detail: self.detail,
        }
    }
}
