//! How often each profile's host keys were changed: whenever somebody leaves who could read its Secrets.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use fairlead_model::{Label, Person};
use sqlx::{AnyConnection, Connection};

use super::Store;

impl Store {
    /// The epoch of every profile that has one; zero for the others.
    pub async fn epochs(&self) -> Result<BTreeMap<Label, u64>> {
        let sql = "select namespace, epoch from epochs";
        let rows = self.call(async |conn| sqlx::query_as::<_, (String, i64)>(sql).fetch_all(conn).await).await;
        let rows = rows.context("reading epochs")?;
        rows.into_iter()
            .map(|(namespace, epoch)| {
                let label = Label::parse(&namespace).with_context(|| format!("reading the epoch of `{namespace}`"))?;
                Ok((label, epoch.cast_unsigned()))
            })
            .collect()
    }

    /// Notes who can read a profile's Secrets now, and raises its epoch where somebody left. Returns the epoch.
    pub async fn note_readers(&self, namespace: &Label, readers: &BTreeSet<Person>) -> Result<u64> {
        let noting = || format!("noting who reads the Secrets of `{namespace}`");
        let now: BTreeSet<&str> = readers.iter().map(Person::as_str).collect();
        let look = async |conn: &mut AnyConnection| {
            // The epoch after the readers: when these are as they are to be, so is it.
            let noted = noted(conn, namespace).await?;
            Ok(epoch(conn, namespace).await?.map(|epoch| (epoch, noted)))
        };
        // Mostly nothing has changed, and then nothing is written.
        if let Some((epoch, noted)) = self.call(look).await.with_context(noting)?
            && noted.iter().map(String::as_str).eq(now.iter().copied())
        {
            return Ok(epoch.cast_unsigned());
        }
        let note = async |conn: &mut AnyConnection| {
            let mut transaction = conn.begin_with(self.begin()).await?;
            // Whoever else notes for this profile waits here.
            let sql = "insert into epochs (namespace, epoch) values ($1, 0)
                on conflict (namespace) do update set epoch = epochs.epoch";
            sqlx::query(sql).bind(namespace.as_str()).execute(&mut *transaction).await?;
            let before = noted(&mut transaction, namespace).await?;
            for gone in before.iter().filter(|person| !now.contains(person.as_str())) {
                let sql = "delete from readers where namespace = $1 and person = $2";
                sqlx::query(sql).bind(namespace.as_str()).bind(gone.as_str()).execute(&mut *transaction).await?;
            }
            for person in now.iter().filter(|person| !before.contains(**person)) {
                let sql = "insert into readers (namespace, person) values ($1, $2)";
                sqlx::query(sql).bind(namespace.as_str()).bind(*person).execute(&mut *transaction).await?;
            }
            if before.iter().any(|person| !now.contains(person.as_str())) {
                let sql = "update epochs set epoch = epoch + 1 where namespace = $1";
                sqlx::query(sql).bind(namespace.as_str()).execute(&mut *transaction).await?;
            }
            let epoch = epoch(&mut transaction, namespace).await?;
            transaction.commit().await?;
            Ok(epoch.unwrap_or(0))
        };
        Ok(self.call(note).await.with_context(noting)?.cast_unsigned())
    }
}

async fn epoch(conn: &mut AnyConnection, namespace: &Label) -> sqlx::Result<Option<i64>> {
    let sql = "select epoch from epochs where namespace = $1";
    sqlx::query_scalar(sql).bind(namespace.as_str()).fetch_optional(conn).await
}

/// Who was noted last.
async fn noted(conn: &mut AnyConnection, namespace: &Label) -> sqlx::Result<BTreeSet<String>> {
    let sql = "select person from readers where namespace = $1";
    let people: Vec<String> = sqlx::query_scalar(sql).bind(namespace.as_str()).fetch_all(conn).await?;
    Ok(people.into_iter().collect())
}
