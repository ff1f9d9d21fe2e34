//! What the database as a whole belongs to.

use anyhow::{Context, Result};

use super::Store;

impl Store {
    /// The public line of the host CA that this database's people trust; `None` in a new one.
    pub async fn authority(&self) -> Result<Option<String>> {
        let sql = "select value from meta where name = 'authority'";
        let row = self.call(async |conn| sqlx::query_scalar::<_, String>(sql).fetch_optional(conn).await).await;
        row.context("reading which host CA the database belongs to")
    }

    /// Whether this database has seen that there was no host CA, and so may take the next one that it finds for its
    /// own.
    pub async fn expects_authority(&self) -> Result<bool> {
        let sql = "select value from meta where name = 'authority-expected'";
        let row = self.call(async |conn| sqlx::query_scalar::<_, String>(sql).fetch_optional(conn).await).await;
        Ok(row.context("reading whether the database expects a new host CA")?.is_some())
    }

    /// Notes that there was none.
    pub async fn expect_authority(&self) -> Result<()> {
        let sql = "insert into meta (name, value) values ('authority-expected', 'yes') on conflict (name) do nothing";
        let done = self.call(async |conn| sqlx::query(sql).execute(conn).await).await;
        done.map(drop).context("noting that the database expects a new host CA")
    }

    /// Notes it.
    pub async fn set_authority(&self, line: &str) -> Result<()> {
        let sql = "insert into meta (name, value) values ('authority', $1)
            on conflict (name) do update set value = excluded.value";
        let done = self.call(async |conn| sqlx::query(sql).bind(line).execute(conn).await).await;
        done.map(drop).context("noting which host CA the database belongs to")
    }
}
