//! Open sessions: what they have carried so far, and that somebody asked for their end.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_model::{Person, Time};
use sqlx::{AnyConnection, Connection as _};

use crate::store::{Store, Topic};

/// How many rows one transaction changes, so that whoever else writes does not wait long.
const BATCH: usize = 100;

impl Store {
    /// Asks the gateway of an open session to end it; whether there is one of this id. Who asked first stays.
    pub async fn ask_end(&self, session: &str, by: &Person, now: Time) -> Result<bool> {
        if session.contains('\0') {
            return Ok(false);
        }
        let ask = async |conn: &mut AnyConnection| {
            let sql = "update sessions set end_asked = coalesce(end_asked, $1),
                end_asked_by = coalesce(end_asked_by, $2) where id = $3 and ended is null";
            let asked = sqlx::query(sql).bind(now.0).bind(by.as_str()).bind(session).execute(&mut *conn).await?;
            // Nothing changed, and so nobody is woken.
            Ok(if asked.rows_affected() > 0 { Ok(()) } else { Err(()) })
        };
        let asked = self.change(Topic::Asks, ask).await.context("asking for the end of a session")?;
        Ok(asked.is_ok())
    }

    /// The open sessions of a gateway that are to end, and who asked for it.
    pub async fn ends_asked(&self, gateway: &str) -> Result<Vec<(String, Person)>> {
        let sql = "select id, end_asked_by from sessions
            where gateway = $1 and ended is null and end_asked is not null and end_asked_by is not null order by id";
        let asked = async |conn: &mut AnyConnection| {
            sqlx::query_as::<_, (String, String)>(sql).bind(gateway).fetch_all(conn).await
        };
        let asked = self.call(asked).await.context("reading which sessions are to end")?;
        Ok(asked.into_iter().filter_map(|(id, by)| Some((id, Person::parse(&by).ok()?))).collect())
    }

    /// Writes what open sessions have carried so far, up and down, by id. An end that is written already stays.
    pub async fn note_bytes(&self, sessions: &[(String, i64, i64)]) -> Result<()> {
        for batch in sessions.chunks(BATCH) {
            let note = async |conn: &mut AnyConnection| {
                let mut transaction = conn.begin_with(self.begin()).await?;
                let sql = "update sessions set bytes_up = $1, bytes_down = $2 where id = $3 and ended is null";
                for (id, up, down) in batch {
                    sqlx::query(sql).bind(*up).bind(*down).bind(id.as_str()).execute(&mut *transaction).await?;
                }
                transaction.commit().await
            };
            self.call(note).await.context("writing what open sessions have carried")?;
        }
        Ok(())
    }

    /// What open sessions have carried up to their gateway's last sign of life, up and down, by id.
    pub async fn live_bytes(&self) -> Result<BTreeMap<String, (i64, i64)>> {
        let sql = "select id, bytes_up, bytes_down from sessions where ended is null";
        let bytes = async |conn: &mut AnyConnection| sqlx::query_as::<_, (String, i64, i64)>(sql).fetch_all(conn).await;
        let bytes = self.call(bytes).await.context("reading what open sessions have carried")?;
        Ok(bytes.into_iter().map(|(id, up, down)| (id, (up, down))).collect())
    }
}
