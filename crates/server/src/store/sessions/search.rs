//! Sessions as people look for them: newest first, of themselves, of their profiles or of everybody.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use fairlead_model::{Label, NotebookId, Person, Time};
use sqlx::{AnyConnection, AssertSqlSafe};

use super::row::{COLUMNS, Row};
use super::{SessionBegin, SessionEnd};
use crate::store::Store;

/// What a search may be about: nothing that is looked in is longer, and SQLite refuses patterns that are much longer.
const MAX_TEXT: usize = 1000;
/// In how many rows, at most, something is looked for that has no index.
const WINDOW: i64 = 20_000;

/// Whose sessions.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// This person's.
    Person(&'a Person),
    /// This person's, and everybody's in these profiles.
    Profiles {
        /// Who.
        person: &'a Person,
        /// The profiles' namespaces, and since when: who had the name before is nobody's business.
        namespaces: &'a [(Label, Time)],
    },
    /// Everybody's.
    All,
}

/// Which sessions are looked for.
#[derive(Debug, Clone)]
pub struct SessionQuery<'a> {
    /// Whose.
    pub scope: Scope<'a>,
    /// Part of a person, `NAMESPACE/NOTEBOOK`, client's address or reason, in any case; empty for all. SQLite folds the
    /// case of ASCII letters only. It is looked for in the newest 20,000 sessions of whose they are, in equal shares of
    /// the person's and each profile's: nothing here has an index for words, and a search must not keep others waiting.
    pub text: &'a str,
    /// Open ones only: of the newest 20,000 of those.
    pub live_only: bool,
    /// Begin and id of the last one seen: what comes after it.
    pub before: Option<(Time, String)>,
    /// At most so many.
    pub limit: i64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The newest first. A row that is none is left out.
    pub sessions: Vec<(SessionBegin, Option<SessionEnd>)>,
    /// Begin and id of the last row, left out or not, where there are more.
    pub next: Option<(Time, String)>,
}

/// One condition on sessions that has an index. A scope of several is asked for one after the other: joined by `or`,
/// every row would be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arm {
    All,
    Person,
    Namespace,
}

impl<'a> Scope<'a> {
    /// Its conditions, of whom or what each, and since when.
    fn arms(&self) -> Vec<(Arm, &'a str, Time)> {
        let own = |person: &'a Person| (Arm::Person, person.as_str(), Time(0));
        match *self {
            Self::All => vec![(Arm::All, "", Time(0))],
            Self::Person(person) => vec![own(person)],
            Self::Profiles { person, namespaces } => {
                let profiles = namespaces.iter().map(|(name, since)| (Arm::Namespace, name.as_str(), *since));
                std::iter::once(own(person)).chain(profiles).collect()
            }
        }
    }
}

impl Store {
    /// The newest sessions first, at most `limit`: of one person, or of everybody.
    pub async fn list_sessions(
        &self,
        person: Option<&Person>,
        limit: i64,
    ) -> Result<Vec<(SessionBegin, Option<SessionEnd>)>> {
        let scope = person.map_or(Scope::All, Scope::Person);
        let query = SessionQuery { scope, text: "", live_only: false, before: None, limit };
        Ok(self.find_sessions(&query).await?.sessions)
    }

    /// The newest sessions first, and where the older ones begin.
    pub async fn find_sessions(&self, query: &SessionQuery<'_>) -> Result<Found> {
        let arms = query.scope.arms();
        // A NUL is in no row, and PostgreSQL takes none.
        if query.text.chars().count() > MAX_TEXT || query.text.contains('\0') || query.limit <= 0 {
            return Ok(Found { sessions: Vec::new(), next: None });
        }
        let pattern = (!query.text.is_empty() || query.live_only).then(|| pattern(query.text));
        let window = WINDOW / i64::try_from(arms.len()).unwrap_or(WINDOW).clamp(1, WINDOW);
        let (before, before_id) = query.before.as_ref().map_or((i64::MAX, ""), |(time, id)| (time.0, id.as_str()));
        // One more than is shown tells whether there are more.
        let limit = query.limit.saturating_add(1);
        let find = async |conn: &mut AnyConnection| {
            let mut found = Vec::new();
            for (arm, of, since) in &arms {
                let sql = sql(*arm, query.live_only, pattern.is_some());
                let rows = sqlx::query_as::<_, Row>(AssertSqlSafe(sql.as_str()))
                    .bind(*of)
                    .bind(since.0)
                    .bind(before)
                    .bind(before_id);
                let rows = rows.bind(limit);
                let rows = match &pattern {
                    Some(pattern) => rows.bind(pattern.as_str()).bind(window),
                    None => rows,
                };
                found.extend(rows.fetch_all(&mut *conn).await?);
            }
            Ok(found)
        };
        let rows = self.call(find).await.context("reading sessions")?;
        Ok(newest(rows, usize::try_from(query.limit).unwrap_or(usize::MAX)))
    }

    /// All open sessions, newest first.
    pub async fn live_sessions(&self) -> Result<Vec<SessionBegin>> {
        let sql = live_sql();
        let rows =
            self.call(async |conn| sqlx::query_as::<_, Row>(AssertSqlSafe(sql.as_str())).fetch_all(conn).await).await;
        let rows = rows.context("reading which sessions are open")?;
        Ok(rows.into_iter().filter_map(Row::parse).map(|(begin, _)| begin).collect())
    }

    /// One session.
    pub async fn session(&self, id: &str) -> Result<Option<(SessionBegin, Option<SessionEnd>)>> {
        if id.contains('\0') {
            return Ok(None);
        }
        let sql = format!("select {COLUMNS} from sessions where id = $1");
        let find = async |conn: &mut AnyConnection| {
            sqlx::query_as::<_, Row>(AssertSqlSafe(sql.as_str())).bind(id).fetch_optional(conn).await
        };
        Ok(self.call(find).await.context("reading a session")?.and_then(Row::parse))
    }

    /// The newest session of each notebook: when it began, and whose it was.
    pub async fn last_sessions(&self) -> Result<BTreeMap<NotebookId, (Time, Person)>> {
        let sql = "select namespace, notebook, began, person from last_sessions";
        let rows = async |conn: &mut AnyConnection| {
            sqlx::query_as::<_, (String, String, i64, String)>(sql).fetch_all(conn).await
        };
        let rows = self.call(rows).await.context("reading the last session of each notebook")?;
        let parse = |(namespace, notebook, began, person): (String, String, i64, String)| {
            Some((NotebookId::parse(&namespace, &notebook).ok()?, (Time(began), Person::parse(&person).ok()?)))
        };
        Ok(rows.into_iter().filter_map(parse).collect())
    }
}

/// The query of one condition: by an index, and of a window of rows where something has no index.
fn sql(arm: Arm, live_only: bool, is_windowed: bool) -> String {
    let arm = match arm {
        Arm::All => "$1 = '' and began >= $2",
        Arm::Person => "person = $1 and began >= $2",
        Arm::Namespace => "namespace = $1 and began >= $2",
    };
    let after = "began <= $3 and (began < $3 or id < $4)";
    let order = "order by began desc, id desc limit";
    if !is_windowed {
        return format!("select {COLUMNS} from sessions where {arm} and {after} {order} $5");
    }
    let (window, rest) = if live_only { ("ended is null", arm) } else { (arm, "1 = 1") };
    format!(
        "select {COLUMNS} from (select {COLUMNS} from sessions where {window} {order} $7) newest
            where {rest} and {after} and (lower(person) like lower($6) escape '!'
                or lower(namespace || '/' || notebook) like lower($6) escape '!'
                or lower(client_address) like lower($6) escape '!'
                or lower(coalesce(reason, '')) like lower($6) escape '!')
            {order} $5"
    )
}

fn live_sql() -> String {
    format!("select {COLUMNS} from sessions where ended is null order by began desc, id desc")
}

/// So many of the rows of several conditions, the newest first, each once.
fn newest(mut rows: Vec<Row>, limit: usize) -> Found {
    rows.sort_by(|a, b| (b.began, &b.id).cmp(&(a.began, &a.id)));
    rows.dedup_by(|a, b| a.id == b.id);
    let is_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| is_more).map(|row| (Time(row.began), row.id.clone()));
    Found { sessions: rows.into_iter().filter_map(Row::parse).collect(), next }
}

/// What contains this text, whatever is in it.
fn pattern(text: &str) -> String {
    let mut pattern = "%".to_owned();
    for c in text.chars() {
        if matches!(c, '!' | '%' | '_') {
            pattern.push('!');
        }
        pattern.push(c);
    }
    pattern + "%"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How SQLite would go about it.
    async fn plan(store: &Store, sql: &str) -> String {
        let sql = format!("explain query plan {sql}");
        let plan = async |conn: &mut AnyConnection| {
            sqlx::query_as::<_, (i64, i64, i64, String)>(AssertSqlSafe(sql.as_str())).fetch_all(conn).await
        };
        let steps: Vec<String> = store.call(plan).await.unwrap().into_iter().map(|step| step.3).collect();
        steps.join("; ")
    }

    #[tokio::test]
    async fn no_search_looks_at_all_sessions() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}/a.db", dir.path().display())).await.unwrap();
        for (arm, index) in [
            (Arm::All, "SEARCH sessions USING INDEX sessions_by_time (began>? AND began<?)"),
            (Arm::Person, "SEARCH sessions USING INDEX sessions_by_person (person=? AND began>? AND began<?)"),
            (Arm::Namespace, "SEARCH sessions USING INDEX sessions_by_namespace (namespace=? AND began>? AND began<?)"),
        ] {
            let plain = plan(&store, &sql(arm, false, false)).await;
            assert!(plain.starts_with(index) && !plain.contains("SCAN"), "{arm:?}: {plain}");
            let windowed = plan(&store, &sql(arm, false, true)).await;
            let index = index.replace(" AND began<?", "");
            assert!(windowed.contains(&index) && !windowed.contains("SCAN sessions"), "{arm:?}: {windowed}");
            let live = plan(&store, &sql(arm, true, true)).await;
            assert!(live.contains("SCAN sessions USING INDEX sessions_open_by_time"), "{arm:?}: {live}");
        }
        let live = plan(&store, &live_sql()).await;
        assert_eq!(live, "SCAN sessions USING INDEX sessions_open_by_time");
    }
}
