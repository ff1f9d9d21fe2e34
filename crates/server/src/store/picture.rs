//! The last picture of the cluster, for a gateway that starts while the API server is away.

use anyhow::{Context, Result};
use fairlead_model::Time;

use super::Store;

impl Store {
    /// Keeps a picture, as JSON text, in place of the one before.
    pub async fn save_picture(&self, json: &str, now: Time) -> Result<()> {
        let sql = "insert into picture (id, at, json) values (1, $1, $2)
            on conflict (id) do update set at = excluded.at, json = excluded.json";
        let save = self.call(async |conn| sqlx::query(sql).bind(now.0).bind(json).execute(conn).await).await;
        save.context("writing the picture of the cluster").map(drop)
    }

    /// The last one, with its time.
    pub async fn load_picture(&self) -> Result<Option<(String, Time)>> {
        let sql = "select json, at from picture where id = 1";
        let load = self.call(async |conn| sqlx::query_as::<_, (String, i64)>(sql).fetch_optional(conn).await).await;
        Ok(load.context("reading the picture of the cluster")?.map(|(json, at)| (json, Time(at))))
    }
}
