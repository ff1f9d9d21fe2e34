//! Sessions: who was in which notebook, from when to when, and why it ended. Written here; [`search`] reads them, and
//! [`live`] has what is asked of those that are open; [`last`] what is kept of the newest ones, [`row`] what a row
//! says.

mod last;
mod live;
mod row;
mod search;

use anyhow::{Context, Result};
use fairlead_model::{Fingerprint, NotebookId, Person, Time};
use sqlx::{AnyConnection, Connection as _};

use super::Store;

pub(super) use last::Last;
pub use search::{Found, Scope, SessionQuery};

/// After so long a gateway's name is forgotten.
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
    /// Why: `closed`, `denied: WORD`, `key-removed`, `drained`, `lost`, `ended by PERSON`, `error: …`.
    pub reason: String,
}

impl Store {
    /// Writes a begin; twice the same is once.
    pub async fn begin_session(&self, begin: &SessionBegin) -> Result<()> {
        let write = self.call(async |conn| {
            let mut transaction = conn.begin_with(self.begin()).await?;
            insert_begin(&mut transaction, begin).await?;
            let mut last = Last::default();
            last.begins(begin);
            last.write(&mut transaction).await?;
            transaction.commit().await
        });
        write.await.context("writing the begin of a session")
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

    /// The gateways besides this one that have open sessions, and what each said last: the time by its own clock, or
    /// nothing.
    pub async fn other_gateways(&self, own: &str) -> Result<Vec<(String, Option<Time>)>> {
        let sql = "select open.gateway, gateways.seen from (select distinct gateway from sessions where ended is null)
            as open left join gateways on gateways.id = open.gateway where open.gateway <> $1 order by open.gateway";
        let read = async |conn: &mut AnyConnection| {
            sqlx::query_as::<_, (String, Option<i64>)>(sql).bind(own).fetch_all(conn).await
        };
        let rows = self.call(read).await.context("reading which gateways have sessions")?;
        Ok(rows.into_iter().map(|(gateway, seen)| (gateway, seen.map(Time))).collect())
    }

    /// Ends as `lost` the open sessions of a gateway that is gone, unless it has said something after `said`. How many.
    pub async fn close_lost_sessions(&self, gateway: &str, said: Option<Time>, now: Time) -> Result<u64> {
        let close = async |conn: &mut AnyConnection| {
            // By this clock, which may be behind the one that they began by.
            let sql = "update sessions set ended = case when began > $1 then began else $1 end, reason = 'lost'
                where ended is null and gateway = $2
                and not exists (select 1 from gateways where id = $2 and seen <> $3)";
            let close = sqlx::query(sql).bind(now.0).bind(gateway).bind(said.map_or(0, |said| said.0));
            let closed = close.execute(&mut *conn).await?;
            let sql = "delete from gateways where seen <= $1";
            sqlx::query(sql).bind(now.plus_seconds(-FORGOTTEN_SECONDS).0).execute(&mut *conn).await?;
            Ok(closed.rows_affected())
        };
        self.call(close).await.context("closing lost sessions")
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
