//! A copy of an SQLite database while servers use it. PostgreSQL brings `pg_dump`; images of the server bring nothing.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::DatabaseUrl;

/// Copies the database to a new file that only its owner may read: one file, whole, as it was at one moment. Makes no
/// database and migrates none, so it serves before an upgrade too.
pub async fn backup(url: &DatabaseUrl, to: &Path) -> Result<()> {
    let Some(path) = url.as_str().strip_prefix("sqlite:") else {
        bail!("`database backup` is for SQLite\nhint: pg_dump --dbname \"$FAIRLEAD_DATABASE\" > fairlead.sql");
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false);
    let mut connection = options.connect().await.with_context(|| format!("opening the database `{path}`"))?;
    let making = || format!("making the file `{}`", to.display());
    // SQLite writes into an empty file, and into no other.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).with_context(making)?;
    let name = to.to_str().context("a backup's path is UTF-8")?;
    let done = sqlx::query("vacuum into $1").bind(name).execute(&mut connection).await;
    if let Err(error) = done {
        // Half a backup is none.
        let _ = std::fs::remove_file(to);
        return Err(error).context("copying the database");
    }
    connection.close().await.context("closing the database")
}
