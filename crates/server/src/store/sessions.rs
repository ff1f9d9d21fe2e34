//! Sessions: who was in which notebook, from when to when, and why it ended.

use anyhow::{Context, Result};
use fairlead_model::{Fingerprint, NotebookId, Person, Time};
use sqlx::AnyConnection;

use super::Store;

/// A gateway that has not said for so long that it lives has lost its sessions.
const SILENT_SECONDS: i64 = 60;
/// After so long its name is forgotten.
const FORGOTTEN_SECONDS: i64 = 86_400;

/// A session as it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionBegin {
    /// Unique: 32 hexadecimal digits at random.
    pub id: String,
    /// The process that carries it, by an id of its own at each start.
    pub gateway: String,
    /// Who.
    pub person: Person,
    /// With which key.
    pub key: Fingerprint,
    /// To which notebook.
    pub notebook: NotebookId,
    /// The Pod's UID.
    pub pod: String,
    /// The way: `jump`.
    pub way: String,
    /// The client's address and port.
    pub from: String,
    /// The client's version string, cleaned, at most 100 characters.
    pub client: String,
    /// When.
    pub at: Time,
}

/// A session as it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionEnd {
    /// Which.
    pub id: String,
    /// When.
    pub at: Time,
    /// Bytes from the client to the notebook.
    pub bytes_up: i64,
    /// Bytes from the notebook to the client.
    pub bytes_down: i64,
    /// Why: `closed`, `denied: WORD`, `key-removed`, `drained`, `lost`, `error: …`.
    pub reason: String,
}

impl Store {
    /// Writes a begin; twice the same is once.
    pub async fn begin_session(&self, begin: &SessionBegin) -> Result<()> {
        let write = self.call(async |conn| insert_begin(conn, begin).await).await;
        write.context("writing the begin of a session")
    }

    /// Writes an end; the first one stays, but for one that was only supposed: `lost`.
    pub async fn end_session(&self, end: &SessionEnd) -> Result<()> {
        let write = self.call(async |conn| update_end(conn, end).await).await;
        write.context("writing the end of a session")
    }

    /// Says that a gateway lives.
    pub async fn beat(&self, gateway: &str, now: Time) -> Result<()> {
        let sql = "insert into gateways (id, seen) values ($1, $2)
            on conflict (id) do update set seen = excluded.seen";
        let beat = self.call(async |conn| sqlx::query(sql).bind(gateway).bind(now.0).execute(conn).await).await;
        beat.context("saying in the database that this gateway lives").map(drop)
    }

    /// Ends as `lost` the open sessions of gateways that have not said so for a minute. How many.
    pub async fn close_lost_sessions(&self, now: Time) -> Result<u64> {
        let (silent, forgotten) = (now.plus_seconds(-SILENT_SECONDS), now.plus_seconds(-FORGOTTEN_SECONDS));
        let close = async |conn: &mut AnyConnection| {
            let sql = "update sessions set ended = $1, reason = 'lost' where ended is null and began <= $2
                and gateway not in (select id from gateways where seen > $2)";
            let closed = sqlx::query(sql).bind(now.0).bind(silent.0).execute(&mut *conn).await?;
            let sql = "delete from gateways where seen <= $1";
            sqlx::query(sql).bind(forgotten.0).execute(&mut *conn).await?;
            Ok(closed.rows_affected())
        };
        self.call(close).await.context("closing lost sessions")
    }

    /// The newest sessions first, at most `limit`: of one person, or of everybody.
    pub async fn list_sessions(
        &self,
        person: Option<&Person>,
        limit: i64,
    ) -> Result<Vec<(SessionBegin, Option<SessionEnd>)>> {
        let sql = "select id, gateway, person, fingerprint, namespace, notebook, pod, way, client_address,
            client_version, began, ended, bytes_up, bytes_down, reason from sessions
            where ($1 = '' or person = $1) order by began desc, id desc limit $2";
        let list = async |conn: &mut AnyConnection| {
            let rows = sqlx::query_as::<_, Row>(sql).bind(person.map_or("", Person::as_str)).bind(limit.max(0));
            rows.fetch_all(conn).await
        };
        let rows = self.call(list).await.context("reading sessions")?;
        Ok(rows.into_iter().filter_map(Row::parse).collect())
    }
}

pub(super) async fn insert_begin(conn: &mut AnyConnection, begin: &SessionBegin) -> sqlx::Result<()> {
    let sql = "insert into sessions (id, gateway, person, fingerprint, namespace, notebook, pod, way, client_address,
        client_version, began, bytes_up, bytes_down) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0)
        on conflict (id) do nothing";
    let insert = sqlx::query(sql).bind(begin.id.as_str()).bind(begin.gateway.as_str()).bind(begin.person.as_str());
    let insert = insert.bind(begin.key.as_str()).bind(begin.notebook.namespace.as_str());
    let insert = insert.bind(begin.notebook.name.as_str()).bind(begin.pod.as_str()).bind(begin.way.as_str());
    let insert = insert.bind(begin.from.as_str()).bind(begin.client.as_str()).bind(begin.at.0);
    insert.execute(conn).await.map(drop)
}

pub(super) async fn update_end(conn: &mut AnyConnection, end: &SessionEnd) -> sqlx::Result<()> {
    let sql = "update sessions set ended = $1, bytes_up = $2, bytes_down = $3, reason = $4
        where id = $5 and (ended is null or reason = 'lost')";
    let update = sqlx::query(sql).bind(end.at.0).bind(end.bytes_up).bind(end.bytes_down);
    update.bind(end.reason.as_str()).bind(end.id.as_str()).execute(conn).await.map(drop)
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    gateway: String,
    person: String,
    fingerprint: String,
    namespace: String,
    notebook: String,
    pod: String,
    way: String,
    client_address: String,
    client_version: String,
    began: i64,
    ended: Option<i64>,
    bytes_up: i64,
    bytes_down: i64,
    reason: Option<String>,
}

impl Row {
    fn parse(self) -> Option<(SessionBegin, Option<SessionEnd>)> {
        let id = self.id.clone();
        let parsed = || -> Result<_> {
            let end = self.ended.map(|ended| SessionEnd {
                id: self.id.clone(),
                at: Time(ended),
                bytes_up: self.bytes_up,
                bytes_down: self.bytes_down,
                reason: self.reason.unwrap_or_default(),
            });
            let begin = SessionBegin {
                id: self.id,
                gateway: self.gateway,
                person: Person::parse(&self.person)?,
                key: Fingerprint::parse(&self.fingerprint).context("not a fingerprint")?,
                notebook: NotebookId::parse(&self.namespace, &self.notebook)?,
                pod: self.pod,
                way: self.way,
                from: self.client_address,
                client: self.client_version,
                at: Time(self.began),
            };
            Ok((begin, end))
        };
        parsed().inspect_err(|error| tracing::warn!(%error, %id, "a session in the database does not parse")).ok()
    }
}
