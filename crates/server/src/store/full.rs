//! A disk without space, said so that an admin knows which one: SQLite's own words name no file.

use sqlx::Error;

use super::url::DatabaseUrl;

/// Of SQLite's result codes, those that a full disk leads to: SQLITE_FULL, and SQLITE_IOERR_SHMSIZE, where the file that
/// its processes share cannot grow.
const FULL: [&str; 2] = ["13", "4874"];

/// An error as it is to be told of a database.
pub(super) fn explain(url: &DatabaseUrl, error: Error) -> Error {
    let Some(path) = url.path().filter(|_| is_full(&error)) else { return error };
    let folder = path.parent().unwrap_or(path).display();
    let text = format!("the disk is full that the database `{}` is on\nhint: df -h {folder}", path.display());
    Error::InvalidArgument(text)
}

fn is_full(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| FULL.contains(&code.as_ref()))
}
