//! The public host keys of notebooks, as the operator last wrote them into Secrets: who holds no master secret reads
//! them here. And those that they had before, for as long as a certificate for one may be valid.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use fairlead_model::identity::last_certificate_ends;
use fairlead_model::{Label, NotebookId, PublicKey, Time};
use sqlx::{AnyConnection, Connection as _};

use super::Store;

/// So many notebooks in one transaction: nobody else should wait long for SQLite's one writer, nor one call take too
/// long where every key changes, as after the loss of a master secret.
const AT_ONCE: usize = 200;
/// At most so many keys of one namespace in an answer: roles and notebooks could come and go all day.
const REVOKED: i64 = 1_000;

impl Store {
    /// Notes the host keys of notebooks, by writing what differs. A notebook that is neither in `keys` nor in `there`
    /// is gone. The key that one had before is revoked: its certificate stays valid for a while.
    pub async fn set_host_keys(
        &self,
        keys: &BTreeMap<NotebookId, PublicKey>,
        there: &BTreeSet<NotebookId>,
        now: Time,
    ) -> Result<()> {
        let held = async |conn: &mut AnyConnection| {
            sqlx::query("delete from revoked_host_keys where until <= $1").bind(now.0).execute(&mut *conn).await?;
            let sql = "select namespace, notebook, line from host_keys";
            sqlx::query_as::<_, (String, String, String)>(sql).fetch_all(conn).await
        };
        let rows = self.call(held).await.context("reading host keys")?;
        let mut changes: Vec<(NotebookId, Option<&PublicKey>)> = Vec::new();
        let mut known = BTreeSet::new();
        for (namespace, notebook, line) in rows {
            // A row that was written by hand is nobody's.
            let Ok(id) = NotebookId::parse(&namespace, &notebook) else { continue };
            match keys.get(&id) {
                Some(key) if key.line() == line => {}
                None if there.contains(&id) => {}
                key => changes.push((id.clone(), key)),
            }
            known.insert(id);
        }
        changes.extend(keys.iter().filter(|(id, _)| !known.contains(*id)).map(|(id, key)| (id.clone(), Some(key))));
        for some in changes.chunks(AT_ONCE) {
            let set = async |conn: &mut AnyConnection| {
                let mut transaction = conn.begin_with(self.begin()).await?;
                for (id, key) in some {
                    change(&mut transaction, id, *key, last_certificate_ends(now)).await?;
                }
                transaction.commit().await
            };
            self.call(set).await.context("writing host keys")?;
        }
        Ok(())
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

    /// The host keys that notebooks of these namespaces had before; never one that a notebook has now. Each namespace has
    /// its own limit: first comes the last one of each notebook that is there, then the one before; those of notebooks
    /// that are gone come last.
    pub async fn revoked_host_keys(
        &self,
        namespaces: &BTreeSet<&Label>,
        now: Time,
    ) -> Result<Vec<(NotebookId, PublicKey)>> {
        let sql = "select former.notebook, former.line from
                (select notebook, line, until,
                    row_number() over (partition by notebook order by until desc, line) as place
                    from revoked_host_keys where namespace = $1 and until > $2) as former
                left join host_keys on host_keys.namespace = $1 and host_keys.notebook = former.notebook
            order by case when host_keys.line is null then 1 else 0 end, place, until desc, former.notebook limit $3";
        let read = async |conn: &mut AnyConnection| {
            let mut all = Vec::new();
            for namespace in namespaces {
                let read = sqlx::query_as(sql).bind(namespace.as_str()).bind(now.0).bind(REVOKED);
                let rows: Vec<(String, String)> = read.fetch_all(&mut *conn).await?;
                all.extend(rows.into_iter().map(|(notebook, line)| (namespace.as_str(), notebook, line)));
            }
            Ok(all)
        };
        let rows = self.call(read).await.context("reading host keys that were replaced")?;
        let parse = |(namespace, notebook, line): (&str, String, String)| {
            Some((NotebookId::parse(namespace, &notebook).ok()?, PublicKey::parse(&line).ok()?.0))
        };
        Ok(rows.into_iter().filter_map(parse).collect())
    }
}

/// Another key for one notebook, or none.
async fn change(conn: &mut AnyConnection, id: &NotebookId, key: Option<&PublicKey>, until: Time) -> sqlx::Result<()> {
    let (namespace, notebook) = (id.namespace.as_str(), id.name.as_str());
    let sql = "insert into revoked_host_keys (namespace, notebook, line, until)
        select namespace, notebook, line, $3 from host_keys where namespace = $1 and notebook = $2
        on conflict (namespace, notebook, line) do update set until = excluded.until";
    sqlx::query(sql).bind(namespace).bind(notebook).bind(until.0).execute(&mut *conn).await?;
    let Some(key) = key else {
        let sql = "delete from host_keys where namespace = $1 and notebook = $2";
        return sqlx::query(sql).bind(namespace).bind(notebook).execute(conn).await.map(drop);
    };
    let sql = "insert into host_keys (namespace, notebook, line) values ($1, $2, $3)
        on conflict (namespace, notebook) do update set line = excluded.line";
    sqlx::query(sql).bind(namespace).bind(notebook).bind(key.line()).execute(&mut *conn).await?;
    let sql = "delete from revoked_host_keys where namespace = $1 and notebook = $2 and line = $3";
    sqlx::query(sql).bind(namespace).bind(notebook).bind(key.line()).execute(conn).await.map(drop)
}
