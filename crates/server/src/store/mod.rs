//! Rows that outlive a process: keys, sessions, audit events, asks, the last picture of the cluster. SQLite or
//! PostgreSQL, by one SQL text in the portable subset (`text` and `bigint`, `$1`); each table's SQL is in the file of
//! its name.

pub mod asks;
pub mod audit;
pub mod backup;
mod changes;
pub mod epochs;
mod full;
mod host_keys;
pub mod keys;
pub mod meta;
mod parts;
pub mod picture;
pub mod records;
pub mod sessions;
pub mod switches;
pub mod troubles;
mod url;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use sqlx::any::{Any, AnyConnectOptions, AnyPoolOptions};
use sqlx::migrate::MigrateError;
use sqlx::{AnyConnection, ConnectOptions, Connection, Executor, Pool};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use changes::Topic;
pub use url::{DatabaseUrl, redact};

use changes::Revisions;
use url::Kind;

/// How long a caller waits for a free connection, or for a new one. A database that is away must not hang anybody.
const ACQUIRE: Duration = Duration::from_secs(2);
/// How long one call may take; longer than SQLite waits for another writer (5 s).
const CALL: Duration = Duration::from_secs(6);
/// How long opening waits for an answer.
const CONNECT: Duration = Duration::from_secs(5);

/// Between two attempts at what SQLite does not wait for by itself.
const AGAIN: Duration = Duration::from_millis(100);

/// What SQLite needs on every connection: readers beside one writer, patience with other writers.
const PRAGMAS: &str = "pragma busy_timeout = 5000; pragma journal_mode = wal;";

/// A connection to the database, cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Pool<Any>,
    kind: Kind,
    url: DatabaseUrl,
    revisions: Arc<Revisions>,
    /// Set once somebody looks at changes: only then somebody has to watch for them.
    watching: OnceLock<()>,
    end: CancellationToken,
    _ends_with_the_last_store: DropGuard,
}

impl Store {
    /// Opens `sqlite:PATH` or `postgres://…`, makes the file where there is none, and migrates.
    pub async fn open(url: &str) -> Result<Self> {
        static DRIVERS: OnceLock<()> = OnceLock::new();
        DRIVERS.get_or_init(sqlx::any::install_default_drivers);
        let given = DatabaseUrl::from(url);
        let opening = || format!("opening the database `{given}`");
        let (kind, options) = url::prepare(url).with_context(opening)?;
        // One connection by itself first: a pool goes on trying and then reports that it timed out, not why.
        let first = async {
            loop {
                match connect_once(kind, &options).await {
                    // Somebody else switches the same new file to WAL, for which SQLite does not wait.
                    Err(error) if error.to_string().contains("database is locked") => sleep(AGAIN).await,
                    ended => return ended,
                }
            }
        };
        let first = timeout(CONNECT, first).await;
        first
            .context("no answer within 5 s")
            .and_then(|done| Ok(done.map_err(|error| full::explain(&given, error))?))
            .with_context(opening)?;
        let pool = pool(kind, options);
        migrate(kind, &given, &pool).await.with_context(|| format!("migrating the database `{given}`"))?;
        let end = CancellationToken::new();
        let store = Self {
            inner: Arc::new(Inner {
                pool,
                kind,
                url: given,
                revisions: Arc::new(Revisions::new()),
                watching: OnceLock::new(),
                _ends_with_the_last_store: end.clone().drop_guard(),
                end,
            }),
        };
        let revisions = store.inner.revisions.clone();
        store
            .call(async |conn| revisions.read(conn).await)
            .await
            .with_context(|| format!("reading the database `{}`", store.inner.url))?;
        Ok(store)
    }

    /// Counts changes of a topic by anybody, also by other processes, at most a second after them.
    #[must_use]
    pub fn changes(&self, topic: Topic) -> watch::Receiver<u64> {
        let inner = &self.inner;
        inner.watching.get_or_init(|| {
            let listened_to = (inner.kind == Kind::Postgres).then(|| inner.url.clone());
            let (pool, revisions, end) = (inner.pool.clone(), inner.revisions.clone(), inner.end.clone());
            tokio::spawn(async move { end.run_until_cancelled(changes::watch(pool, listened_to, &revisions)).await });
        });
        inner.revisions.subscribe(topic)
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> Result<()> {
        let ping = self.call(async |conn| conn.ping().await).await;
        ping.context("asking the database whether it is there")
    }

    /// Does some work on a connection, within [`CALL`]. A connection that does not answer is thrown away: put back, it
    /// would keep the next caller waiting. So is one on which anything broke: where the disk is full, SQLite has rolled
    /// back by itself, sqlx believes that a transaction is open, and nothing would begin on it any more.
    async fn call<T>(&self, work: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<T>) -> sqlx::Result<T> {
        let mut connection = self.inner.pool.acquire().await?;
        let done = timeout(CALL, work(&mut connection)).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        done.map_err(|error| {
            if !is_about_rows(&error) {
                drop(connection.detach());
            }
            full::explain(&self.inner.url, error)
        })
    }

    /// Changes rows of a topic in one transaction, one at a time among everybody, and lets everybody know. A refusal
    /// changes nothing.
    async fn change<T, E>(
        &self,
        topic: Topic,
        work: impl AsyncFnOnce(&mut AnyConnection) -> sqlx::Result<Result<T, E>>,
    ) -> sqlx::Result<Result<T, E>> {
        let kind = self.inner.kind;
        let (done, revision) = self
            .call(async |conn| {
                let mut transaction = conn.begin_with(self.begin()).await?;
                let revision = changes::advance(&mut transaction, kind, topic).await?;
                match work(&mut transaction).await? {
                    Ok(done) => transaction.commit().await.map(|()| (Ok(done), Some(revision))),
                    Err(refused) => transaction.rollback().await.map(|()| (Err(refused), None)),
                }
            })
            .await?;
        if let Some(revision) = revision {
            self.inner.revisions.set(topic, revision);
        }
        Ok(done)
    }

    /// How a transaction begins that will write. On SQLite it takes the right to write at once: one that begins to
    /// read and then wants to write fails as soon as somebody else has written.
    fn begin(&self) -> &'static str {
        match self.inner.kind {
            Kind::Sqlite => "begin immediate",
            Kind::Postgres => "begin",
        }
    }
}

/// Whether an error is about what was asked for, and the connection as good as before.
fn is_about_rows(error: &sqlx::Error) -> bool {
    use sqlx::error::ErrorKind::{CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation};
    match error {
        sqlx::Error::RowNotFound => true,
        sqlx::Error::Database(error) => {
            matches!(error.kind(), CheckViolation | ForeignKeyViolation | NotNullViolation | UniqueViolation)
        }
        _ => false,
    }
}

fn pool(kind: Kind, options: AnyConnectOptions) -> Pool<Any> {
    let pool = AnyPoolOptions::new().max_connections(8).acquire_timeout(ACQUIRE);
    let pool = pool.after_connect(move |connection, _| Box::pin(prepare(kind, connection)));
    pool.connect_lazy_with(options)
}

async fn connect_once(kind: Kind, options: &AnyConnectOptions) -> sqlx::Result<()> {
    let mut connection = options.connect().await?;
    prepare(kind, &mut connection).await?;
    connection.close().await
}

async fn prepare(kind: Kind, connection: &mut AnyConnection) -> sqlx::Result<()> {
    match kind {
        Kind::Sqlite => connection.execute(PRAGMAS).await.map(drop),
        Kind::Postgres => Ok(()),
    }
}

/// Brings the tables up to date. PostgreSQL makes others wait meanwhile; of several that migrate a new SQLite file at
/// once, those that come second fail, look again and find it done.
async fn migrate(kind: Kind, url: &DatabaseUrl, pool: &Pool<Any>) -> Result<()> {
    let mut migrations = sqlx::migrate!();
    // Migrations only add: a server that is a version older goes on beside a newer one during an update.
    migrations.set_ignore_missing(true);
    let mut attempts = if kind == Kind::Sqlite { 50 } else { 1 };
    loop {
        attempts -= 1;
        match migrations.run(pool).await {
            Err(error) if attempts > 0 => {
                tracing::debug!(%error, "migrating once more");
                sleep(AGAIN).await;
            }
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => {
                return Err(full::explain(url, error).into());
            }
            done => return Ok(done?),
        }
    }
}
