//! Records of what happened, written in the order in which it did.

use anyhow::{Context as _, Result};
use fairlead_model::{Fingerprint, Person, Time};
use sqlx::{AnyConnection, Connection as _};

use super::Store;
use super::audit::{self, AuditEvent};
use super::sessions::{self, Last, SessionBegin, SessionEnd};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A session began.
    Begin(SessionBegin),
    /// A session ended.
    End(SessionEnd),
    /// An audit event, with an id that nothing else has.
    Audit(String, AuditEvent),
    /// A person signed in with a key of theirs.
    SignIn(Person, Fingerprint, Time),
}

impl Record {
    /// What it is and its id: all that a log may say of it.
    #[must_use]
    pub fn name(&self) -> (&'static str, &str) {
        match self {
            Self::Begin(begin) => ("session begin", &begin.id),
            Self::End(end) => ("session end", &end.id),
            Self::Audit(id, _) => ("audit event", id),
            // A key's name is a person's; there is no other.
            Self::SignIn(..) => ("sign-in", ""),
        }
    }
}

/// Why records were not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// The database is away, or busy: it may work later.
    #[error("the database is away")]
    Away(#[source] sqlx::Error),
    /// The database will never take one of them.
    #[error("the database refuses a record")]
    Refused(#[source] sqlx::Error),
}

impl Store {
    /// Writes records in one transaction, all or none. Each is written once, however often that is tried.
    pub async fn write_records(&self, records: &[Record]) -> Result<(), Unwritten> {
        let write = self.call(async |conn| {
            let mut transaction = conn.begin_with(self.begin()).await?;
            let mut last = Last::default();
            for record in records {
                match record {
                    Record::Begin(begin) => {
                        sessions::insert_begin(&mut transaction, begin).await?;
                        last.begins(begin);
                    }
                    Record::End(end) => sessions::update_end(&mut transaction, end).await?,
                    Record::Audit(id, event) => audit::insert(&mut transaction, id, event).await?,
                    Record::SignIn(person, key, at) => last.signs_in(person, key, *at),
                }
            }
            last.write(&mut transaction).await?;
            transaction.commit().await
        });
        write.await.map_err(|error| if is_refusal(&error) { Unwritten::Refused(error) } else { Unwritten::Away(error) })
    }
}

/// How many rows of a table go in one call, so that nobody else waits long for SQLite's one writer.
const PRUNED: i64 = 5_000;

impl Store {
    /// Deletes the audit events, the sessions that have ended and the asks that were answered before a moment: some
    /// of them, for there may be many. How many went; none where all have gone.
    pub async fn prune(&self, before: Time) -> Result<u64> {
        let audit = "delete from audit where id in (select id from audit where at < $1 limit $2)";
        // No session ends before it begins, and there is an index by that.
        let sessions = "delete from sessions where id in
            (select id from sessions where began < $1 and ended < $1 limit $2)";
        let asks = "delete from asks where id in (select id from asks where done < $1 limit $2)";
        let mut all = 0;
        for sql in [audit, sessions, asks] {
            let delete = async |conn: &mut AnyConnection| {
                sqlx::query(sql).bind(before.0).bind(PRUNED).execute(conn).await.map(|done| done.rows_affected())
            };
            all += self.call(delete).await.context("deleting old records")?;
        }
        // What is kept of a notebook's newest session goes with it.
        let last = "delete from last_sessions where began < $1 and not exists (select 1 from sessions
            where sessions.namespace = last_sessions.namespace and sessions.notebook = last_sessions.notebook
            and sessions.began = last_sessions.began)";
        let delete = async |conn: &mut AnyConnection| sqlx::query(last).bind(before.0).execute(conn).await;
        self.call(delete).await.context("deleting old records")?;
        Ok(all)
    }
}

/// PostgreSQL's classes 22 and 23, data and constraints, are about what was to be written (PostgreSQL, appendix A):
/// a NUL in a text, which SQLite takes.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.len() == 5 && (code.starts_with("22") || code.starts_with("23")))
}
