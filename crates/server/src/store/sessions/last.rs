//! What is kept of the newest sessions: when each notebook was last in use, and each key.

use std::collections::BTreeMap;

use fairlead_model::{Fingerprint, NotebookId, Person, Time};
use sqlx::AnyConnection;

use super::SessionBegin;
use crate::store::keys;

/// Notes for the end of a transaction. They are sorted, because two transactions that write the same rows must take
/// them in the same order, or each would wait for the other.
#[derive(Debug, Default)]
pub(in crate::store) struct Last<'a> {
    keys: BTreeMap<(&'a Fingerprint, &'a Person), Time>,
    notebooks: BTreeMap<&'a NotebookId, (Time, &'a Person)>,
}

impl<'a> Last<'a> {
    /// A session began.
    pub(in crate::store) fn begins(&mut self, begin: &'a SessionBegin) {
        self.signs_in(&begin.person, &begin.key, begin.at);
        let new = (begin.at, &begin.person);
        let last = self.notebooks.entry(&begin.notebook).or_insert(new);
        *last = new.max(*last);
    }

    /// A person signed in.
    pub(in crate::store) fn signs_in(&mut self, person: &'a Person, key: &'a Fingerprint, at: Time) {
        let used = self.keys.entry((key, person)).or_insert(at);
        *used = at.max(*used);
    }

    /// Writes what is newer than what is there.
    pub(in crate::store) async fn write(self, conn: &mut AnyConnection) -> sqlx::Result<()> {
        for ((key, person), at) in self.keys {
            keys::note_used(conn, person.as_str(), key.as_str(), at).await?;
        }
        let sql = "insert into last_sessions (namespace, notebook, person, began) values ($1, $2, $3, $4)
            on conflict (namespace, notebook) do update set person = excluded.person, began = excluded.began
            where last_sessions.began < excluded.began";
        for (id, (at, person)) in self.notebooks {
            let upsert = sqlx::query(sql).bind(id.namespace.as_str()).bind(id.name.as_str());
            upsert.bind(person.as_str()).bind(at.0).execute(&mut *conn).await?;
        }
        Ok(())
    }
}
