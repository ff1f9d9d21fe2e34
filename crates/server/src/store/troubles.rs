//! What is wrong with notebooks, as the operator found it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use fairlead_model::{Fact, NotebookId, Time, Trouble};
use sqlx::AnyConnection;

use super::{Store, Topic};

/// Namespace, notebook, reason.
type Row = (String, String, String);

impl Store {
    /// Makes these all the troubles there are. Only the difference is written, and what was there keeps its time.
    pub async fn set_troubles(&self, all: &BTreeMap<NotebookId, BTreeSet<Trouble>>, now: Time) -> Result<()> {
        let wanted: BTreeSet<Row> =
            all.iter().flat_map(|(id, troubles)| troubles.iter().map(|it| row(id, *it))).collect();
        // Mostly nothing has changed, and then nobody has to look.
        if self.call(rows).await.context("reading troubles")? == wanted {
            return Ok(());
        }
        let set = async |conn: &mut AnyConnection| {
            let there = rows(conn).await?;
            for (namespace, notebook, reason) in there.difference(&wanted) {
                let sql = "delete from troubles where namespace = $1 and notebook = $2 and reason = $3";
                let delete = sqlx::query(sql).bind(namespace.as_str()).bind(notebook.as_str()).bind(reason.as_str());
                delete.execute(&mut *conn).await?;
            }
            for (namespace, notebook, reason) in wanted.difference(&there) {
                let sql = "insert into troubles (namespace, notebook, reason, since) values ($1, $2, $3, $4)";
                let insert = sqlx::query(sql).bind(namespace.as_str()).bind(notebook.as_str()).bind(reason.as_str());
                insert.bind(now.0).execute(&mut *conn).await?;
            }
            Ok(if there == wanted { Err(Unchanged) } else { Ok(()) })
        };
        // It is no matter whether somebody else has written the same meanwhile.
        self.change(Topic::Notebooks, set).await.context("writing troubles").map(|done| done.unwrap_or(()))
    }

    /// [`Fact::Troubles`] as of now. A row that does not parse is logged and skipped.
    pub async fn troubles_fact(&self) -> Result<Fact> {
        let mut all = BTreeMap::<NotebookId, BTreeSet<Trouble>>::new();
        for (namespace, notebook, reason) in self.call(rows).await.context("reading troubles")? {
            let parsed = (NotebookId::parse(&namespace, &notebook), Trouble::from_word(&reason));
            let (Ok(id), Some(trouble)) = parsed else {
                tracing::warn!(namespace, notebook, reason, "a trouble in the database does not parse");
                continue;
            };
            all.entry(id).or_default().insert(trouble);
        }
        Ok(Fact::Troubles(all))
    }
}

/// There is nothing to tell anybody.
struct Unchanged;

fn row(id: &NotebookId, trouble: Trouble) -> Row {
    (id.namespace.to_string(), id.name.to_string(), trouble.word().to_owned())
}

async fn rows(conn: &mut AnyConnection) -> sqlx::Result<BTreeSet<Row>> {
    let rows = sqlx::query_as("select namespace, notebook, reason from troubles").fetch_all(conn).await?;
    Ok(rows.into_iter().collect())
}
