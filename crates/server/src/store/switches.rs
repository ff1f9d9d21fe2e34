//! Namespaces where an admin of Fairlead switched SSH off.

use anyhow::{Context, Result};
use fairlead_model::{Fact, Label, Person, Time};
use sqlx::AnyConnection;

use super::{Store, Topic};

/// A switch that is off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchRow {
    /// Where.
    pub namespace: Label,
    /// By whom.
    pub person: Person,
    /// Since when.
    pub at: Time,
}

/// It is so already.
struct Unchanged;

impl Store {
    /// Switches SSH off in a namespace; whether it was on. Who did it first stays noted.
    pub async fn switch_off(&self, namespace: &Label, person: &Person, now: Time) -> Result<bool> {
        let off = async |conn: &mut AnyConnection| {
            let sql = "insert into switches (namespace, person, at) values ($1, $2, $3)
                on conflict (namespace) do nothing";
            let done = sqlx::query(sql).bind(namespace.as_str()).bind(person.as_str()).bind(now.0);
            changed(done.execute(conn).await?.rows_affected())
        };
        let done = self.change(Topic::Notebooks, off).await;
        Ok(done.with_context(|| format!("switching SSH off in `{namespace}`"))?.is_ok())
    }

    /// Takes the switch back; whether it was off.
    pub async fn switch_on(&self, namespace: &Label) -> Result<bool> {
        let on = async |conn: &mut AnyConnection| {
            let done = sqlx::query("delete from switches where namespace = $1").bind(namespace.as_str());
            changed(done.execute(conn).await?.rows_affected())
        };
        let done = self.change(Topic::Notebooks, on).await;
        Ok(done.with_context(|| format!("switching SSH on in `{namespace}`"))?.is_ok())
    }

    /// All of them, by namespace.
    pub async fn list_switches(&self) -> Result<Vec<SwitchRow>> {
        Ok(self.switch_rows().await?.into_iter().filter_map(parse).collect())
    }

    /// [`Fact::Switches`] as of now: by the namespace alone, for a switch counts whoever did it.
    pub async fn switches_fact(&self) -> Result<Fact> {
        let rows = self.switch_rows().await?;
        // What is no name names no namespace.
        Ok(Fact::Switches(rows.iter().filter_map(|(namespace, ..)| Label::parse(namespace).ok()).collect()))
    }

    async fn switch_rows(&self) -> Result<Vec<(String, String, i64)>> {
        let sql = "select namespace, person, at from switches order by namespace";
        let rows = self.call(async |conn| sqlx::query_as(sql).fetch_all(conn).await).await;
        rows.context("reading where SSH is switched off")
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends the work of a change, which can fail")]
const fn changed(rows: u64) -> sqlx::Result<Result<(), Unchanged>> {
    Ok(if rows > 0 { Ok(()) } else { Err(Unchanged) })
}

fn parse((namespace, person, at): (String, String, i64)) -> Option<SwitchRow> {
    let parsed = || -> Result<SwitchRow> {
        Ok(SwitchRow { namespace: Label::parse(&namespace)?, person: Person::parse(&person)?, at: Time(at) })
    };
    parsed().inspect_err(|error| tracing::warn!(%error, namespace, "a switch in the database does not parse")).ok()
}
