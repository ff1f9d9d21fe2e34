//! How a change of keys becomes known to everybody: a count in a row of its own, looked at twice a second; on
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
const CHANNEL: &str = "fairlead_keys";

/// The revision of the keys.
pub(super) async fn revision(connection: &mut AnyConnection) -> sqlx::Result<u64> {
    let sql = "select revision from revisions where name = 'keys'";
    let revision: i64 = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(revision.cast_unsigned())
}

/// Begins a change of keys, inside a transaction: whoever else changes keys waits until it ends. Returns the revision
/// to come.
pub(super) async fn advance(connection: &mut AnyConnection, kind: Kind) -> sqlx::Result<u64> {
    let sql = "update revisions set revision = revision + 1 where name = 'keys' returning revision";
    let revision: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    if kind == Kind::Postgres {
        // Sent when the transaction is committed, and not otherwise.
        connection.execute("notify fairlead_keys").await?;
    }
    Ok(revision.cast_unsigned())
}

/// Keeps `revision` as the database has it.
pub(super) async fn watch(pool: Pool<Any>, listen_to: Option<DatabaseUrl>, revision: watch::Sender<u64>) {
    let wake = Arc::new(Notify::new());
    let look = async {
        loop {
            tokio::select! {
                () = sleep(POLL) => {}
                () = wake.notified() => {}
            }
            match timeout(LOOK, look(&pool)).await {
                Ok(Ok(now)) => set(&revision, now),
                Ok(Err(error)) => tracing::debug!(%error, "looking for changes of keys"),
                Err(_) => tracing::debug!("looking for changes of keys: no answer"),
            }
        }
    };
    match listen_to {
        Some(url) => drop(tokio::join!(look, listen(&url, &wake))),
        None => look.await,
    }
}

/// Tells everybody who watches, if there is something to tell.
pub(super) fn set(revision: &watch::Sender<u64>, now: u64) {
    revision.send_if_modified(|seen| std::mem::replace(seen, now) != now);
}

async fn look(pool: &Pool<Any>) -> sqlx::Result<u64> {
    let mut connection = pool.acquire().await?;
    revision(&mut connection).await
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
        tracing::debug!(%error, "listening for changes of keys");
        sleep(RECONNECT).await;
    }
}
