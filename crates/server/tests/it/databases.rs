//! The databases every story is told to: a fresh SQLite file, and a fresh database of a real PostgreSQL.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::future::Future;
use std::sync::Arc;

use fairlead_server::store::Store;
use sqlx::Connection as _;
use tempfile::TempDir;

use crate::postgres::Postgres;

/// A database that is gone with this value.
pub(crate) struct Database {
    url: String,
    _dir: Option<TempDir>,
    _server: Option<Arc<Postgres>>,
}

impl Database {
    /// A fresh SQLite file.
    pub(crate) fn sqlite() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/folder/fairlead.db", dir.path().display());
        Self { url, _dir: Some(dir), _server: None }
    }

    /// A file in a folder of somebody else's.
    pub(crate) fn sqlite_in(folder: &std::path::Path) -> Self {
        Self { url: format!("sqlite:{}/fairlead.db", folder.display()), _dir: None, _server: None }
    }

    /// A fresh database of PostgreSQL.
    pub(crate) async fn postgres(server: Arc<Postgres>) -> Self {
        Self { url: server.fresh_database().await, _dir: None, _server: Some(server) }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The file of an SQLite database.
    pub(crate) fn file(&self) -> Option<&std::path::Path> {
        self.url.strip_prefix("sqlite:").map(std::path::Path::new)
    }

    /// A number that somebody sees who has the database and not the server.
    pub(crate) async fn number(&self, sql: &'static str) -> i64 {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        number
    }

    /// A store on it.
    pub(crate) async fn open(&self) -> Store {
        Store::open(&self.url).await.unwrap()
    }
}

/// Runs a story on both databases. It is spawned, as servers do: whatever it awaits has to be `Send`.
pub(crate) fn on_both<S: Future<Output = ()> + Send + 'static>(story: fn(Database) -> S) {
    let server = Postgres::shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::spawn(story(Database::sqlite())).await.expect("on SQLite");
        tokio::spawn(story(Database::postgres(server).await)).await.expect("on PostgreSQL");
    });
}

/// The same for stories of a whole site, which nobody spawns: what they await is not `Send` enough for that.
pub(crate) fn on_both_here<S: Future<Output = ()>>(story: fn(Database) -> S) {
    let server = Postgres::shared();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        story(Database::sqlite()).await;
        story(Database::postgres(server).await).await;
    });
}
