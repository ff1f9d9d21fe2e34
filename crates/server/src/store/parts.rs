//! Which parts of the server run, in whichever process.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_model::Time;
use sqlx::{AnyConnection, Connection as _};

use super::Store;

/// A process that has said nothing for so long is forgotten, in seconds.
const FORGOTTEN_SECONDS: i64 = 86_400;

impl Store {
    /// Says that these parts run in the process `id`.
    pub async fn beat_parts(&self, id: &str, parts: &[&str], now: Time) -> Result<()> {
        let beat = async |conn: &mut AnyConnection| {
            let mut transaction = conn.begin_with(self.begin()).await?;
            for part in parts {
                let sql = "insert into parts (id, part, seen) values ($1, $2, $3)
                    on conflict (id, part) do update set seen = excluded.seen";
                sqlx::query(sql).bind(id).bind(*part).bind(now.0).execute(&mut *transaction).await?;
            }
            let sql = "delete from parts where seen < $1";
            sqlx::query(sql).bind(now.plus_seconds(-FORGOTTEN_SECONDS).0).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.call(beat).await.context("saying in the database which parts run")
    }

    /// When each part was last seen in any process.
    pub async fn parts(&self) -> Result<BTreeMap<String, Time>> {
        let read = async |conn: &mut AnyConnection| {
            let sql = "select part, max(seen) from parts group by part";
            sqlx::query_as::<_, (String, i64)>(sql).fetch_all(conn).await
        };
        let rows = self.call(read).await.context("reading which parts run")?;
        Ok(rows.into_iter().map(|(part, seen)| (part, Time(seen))).collect())
    }
}
