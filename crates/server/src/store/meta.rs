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

    /// Notes it.
    pub async fn set_authority(&self, line: &str) -> Result<()> {
        let sql = "insert into meta (name, value) values ('authority', $1)
            on conflict (name) do update set value = excluded.value";
        let done = self.call(async |conn| sqlx::query(sql).bind(line).execute(conn).await).await;
        done.map(drop).context("noting which host CA the database belongs to")
    }
}
