//! How a change becomes known to everybody: a count for each topic in a row of its own, looked at twice a second; on
//! PostgreSQL a notification besides, which comes at once.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::Any;
use sqlx::postgres::PgListener;
use sqlx::{AnyConnection, Executor, Pool};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::url::{DatabaseUrl, Kind};

const POLL: Duration = Duration::from_millis(500);
/// How long one look may take. One that hangs must not end all watching.
const LOOK: Duration = Duration::from_secs(6);
/// How long after losing PostgreSQL it is tried again.
const RECONNECT: Duration = Duration::from_secs(2);
/// What PostgreSQL's notifications go by; the name is older than the other topics.
const CHANNEL: &str = "fairlead_keys";

/// What rows are about, for those who wait for a change of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Keys and claims.
    Keys,
    /// What is wrong with notebooks, and where an admin switched SSH off.
    Notebooks,
    /// What people asked for: notebooks to start or stop, sessions to end.
    Asks,
}

impl Topic {
    const ALL: [Self; 3] = [Self::Keys, Self::Notebooks, Self::Asks];

    /// The name of its row.
    const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Notebooks => "notebooks",
            Self::Asks => "asks",
        }
    }
}

/// The revision of each topic that was seen last.
#[derive(Debug)]
pub(super) struct Revisions([watch::Sender<u64>; 3]);

impl Revisions {
    pub(super) fn new() -> Self {
        Self(Topic::ALL.map(|_| watch::Sender::new(0)))
    }

    pub(super) fn subscribe(&self, topic: Topic) -> watch::Receiver<u64> {
        self.0[topic as usize].subscribe()
    }

    /// Tells everybody who watches, if there is something to tell.
    pub(super) fn set(&self, topic: Topic, now: u64) {
        self.0[topic as usize].send_if_modified(|seen| std::mem::replace(seen, now) != now);
    }

    /// Takes over what the database has.
    pub(super) async fn read(&self, connection: &mut AnyConnection) -> sqlx::Result<()> {
        let sql = "select name, revision from revisions";
        let rows: Vec<(String, i64)> = sqlx::query_as(sql).fetch_all(connection).await?;
        for topic in Topic::ALL {
            let row = rows.iter().find(|(name, _)| name == topic.name());
            self.set(topic, row.map_or(0, |(_, revision)| revision.cast_unsigned()));
        }
        Ok(())
    }
}

/// Begins a change, inside a transaction: whoever else changes rows of this topic waits until it ends. Returns the
/// revision to come.
pub(super) async fn advance(connection: &mut AnyConnection, kind: Kind, topic: Topic) -> sqlx::Result<u64> {
    let sql = "update revisions set revision = revision + 1 where name = $1 returning revision";
    let revision: i64 = sqlx::query_scalar(sql).bind(topic.name()).fetch_one(&mut *connection).await?;
    if kind == Kind::Postgres {
        // Sent when the transaction is committed, and not otherwise.
        connection.execute("notify fairlead_keys").await?;
    }
    Ok(revision.cast_unsigned())
}

/// Keeps `revisions` as the database has them.
pub(super) async fn watch(pool: Pool<Any>, listen_to: Option<DatabaseUrl>, revisions: &Revisions) {
    let wake = Arc::new(Notify::new());
    let look = async {
        loop {
            tokio::select! {
                () = sleep(POLL) => {}
                () = wake.notified() => {}
            }
            match timeout(LOOK, look(&pool, revisions)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "looking for changes"),
                Err(_) => tracing::debug!("looking for changes: no answer"),
            }
        }
    };
    match listen_to {
        Some(url) => drop(tokio::join!(look, listen(&url, &wake))),
        None => look.await,
    }
}

async fn look(pool: &Pool<Any>, revisions: &Revisions) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    revisions.read(&mut connection).await
}

/// Wakes somebody at every notification, and whenever some may have been missed.
async fn listen(url: &str, wake: &Notify) -> Infallible {
    loop {
        let heard = async {
            let mut listener = PgListener::connect(url).await?;
            listener.listen(CHANNEL).await?;
            loop {
                listener.try_recv().await?;
                wake.notify_one();
            }
        };
        let heard: Result<Infallible, sqlx::Error> = heard.await;
        let Err(error) = heard;
        tracing::debug!(%error, "listening for changes");
        sleep(RECONNECT).await;
    }
}
