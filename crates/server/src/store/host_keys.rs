//! The public host keys of notebooks, as the operator last wrote them into Secrets: who holds no master secret reads
//! them here.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_model::{NotebookId, PublicKey};
use sqlx::{AnyConnection, Connection as _};

use super::Store;

impl Store {
    /// Makes these all there are, by writing what differs.
    pub async fn set_host_keys(&self, keys: &BTreeMap<NotebookId, PublicKey>) -> Result<()> {
        let set = async |conn: &mut AnyConnection| {
            let mut transaction = conn.begin_with(self.begin()).await?;
            let sql = "select namespace, notebook, line from host_keys";
            let rows: Vec<(String, String, String)> = sqlx::query_as(sql).fetch_all(&mut *transaction).await?;
            let mut held: BTreeMap<(String, String), String> =
                rows.into_iter().map(|(namespace, notebook, line)| ((namespace, notebook), line)).collect();
            for (id, key) in keys {
                if held.remove(&(id.namespace.to_string(), id.name.to_string())).as_deref() == Some(key.line()) {
                    continue;
                }
                let sql = "insert into host_keys (namespace, notebook, line) values ($1, $2, $3)
                    on conflict (namespace, notebook) do update set line = excluded.line";
                let put = sqlx::query(sql).bind(id.namespace.as_str()).bind(id.name.as_str()).bind(key.line());
                put.execute(&mut *transaction).await?;
            }
            for (namespace, notebook) in held.keys() {
                let sql = "delete from host_keys where namespace = $1 and notebook = $2";
                let delete = sqlx::query(sql).bind(namespace.as_str()).bind(notebook.as_str());
                delete.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        self.call(set).await.context("writing host keys")
    }

    /// The host key of one notebook, once the operator has written it.
    pub async fn host_key(&self, id: &NotebookId) -> Result<Option<PublicKey>> {
        let sql = "select line from host_keys where namespace = $1 and notebook = $2";
        let read = async |conn: &mut AnyConnection| {
            let read = sqlx::query_scalar::<_, String>(sql).bind(id.namespace.as_str()).bind(id.name.as_str());
            read.fetch_optional(conn).await
        };
        let line = self.call(read).await.with_context(|| format!("reading the host key of `{id}`"))?;
        Ok(line.and_then(|line| PublicKey::parse(&line).ok()).map(|(key, _)| key))
    }
}
