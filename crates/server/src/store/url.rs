//! Where the database is: which kind, what to connect with, and a form of it that may be shown.

use std::convert::Infallible;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sqlx::any::AnyConnectOptions;

/// Parts of a URL's query that are no secret. Everything else is not shown.
const HARMLESS: [&str; 8] =
    ["application_name", "dbname", "host", "port", "sslmode", "ssl-mode", "sslrootcert", "user"];

/// The URL of a database. It prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sqlite,
    Postgres,
}

/// What to connect with. For SQLite, makes the folder and the file, which only its owner may read.
pub(super) fn prepare(url: &str) -> Result<(Kind, AnyConnectOptions)> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        let options =
            url.parse().context("it is not a URL; a password has its special characters as `%` and two digits")?;
        return Ok((Kind::Postgres, options));
    }
    let Some(path) = url.strip_prefix("sqlite:") else {
        bail!("a database is `sqlite:PATH` or `postgres://USER:PASSWORD@HOST/NAME`");
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path == ":memory:" || path.contains('?') {
        bail!("`sqlite:` is followed by the path of a file and nothing else");
    }
    let path = make_file(Path::new(path))?;
    // What has a meaning in a URL is none of the path's.
    let path = path.replace('%', "%25").replace('#', "%23").replace('?', "%3F");
    Ok((Kind::Sqlite, format!("sqlite:{path}").parse().context("its path does not fit into a URL")?))
}

/// Makes a file that only its owner may read, with the folder it is in; and says where it really is.
fn make_file(path: &Path) -> Result<String> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("making the folder `{}`", folder.display()))?;
    }
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("making the file `{}`", path.display())),
    }
    let path = fs::canonicalize(path).with_context(|| format!("finding the file `{}`", path.display()))?;
    path.into_os_string().into_string().ok().context("its path is not UTF-8")
}

/// A database's URL without its password: that is never to be logged or shown. What is no URL is not shown at all.
#[must_use]
pub fn redact(url: &str) -> String {
    if url.starts_with("sqlite:") {
        return url.to_owned();
    }
    let Ok(AnyConnectOptions { database_url: parsed, .. }) = url.parse() else {
        return "[redacted]".to_owned();
    };
    // Without a host, or with `@` after it, a part of the password may be anywhere.
    let odd = parsed.host_str().is_none() || parsed.path().contains('@');
    if odd || !matches!(parsed.scheme(), "postgres" | "postgresql") {
        return "[redacted]".to_owned();
    }
    let password = if parsed.password().is_some() { ":[redacted]" } else { "" };
    let at = if parsed.username().is_empty() && password.is_empty() { "" } else { "@" };
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    let query: Vec<String> = parsed
        .query_pairs()
        .map(|(key, value)| if HARMLESS.contains(&&*key) { format!("{key}={value}") } else { "[redacted]".to_owned() })
        .collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let (scheme, user, host) = (parsed.scheme(), parsed.username(), parsed.host_str().unwrap_or_default());
    format!("{scheme}://{user}{password}{at}{host}{port}{}{query}", parsed.path())
}

impl DatabaseUrl {
    /// The URL with its password, to connect.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DatabaseUrl {
    /// The file of SQLite.
    pub(super) fn path(&self) -> Option<&Path> {
        let path = self.0.strip_prefix("sqlite:")?;
        Some(Path::new(path.strip_prefix("//").unwrap_or(path)))
    }
}

impl From<&str> for DatabaseUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl FromStr for DatabaseUrl {
    type Err = Infallible;

    fn from_str(url: &str) -> Result<Self, Infallible> {
        Ok(Self::from(url))
    }
}

impl std::ops::Deref for DatabaseUrl {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact(&self.0))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_url_shows_its_password() {
        for (url, shown) in [
            ("sqlite:/var/lib/fairlead.db", "sqlite:/var/lib/fairlead.db"),
            ("postgres://fairlead@db/rows", "postgres://fairlead@db/rows"),
            ("postgres://fairlead:hunter2@db:5433/rows", "postgres://fairlead:[redacted]@db:5433/rows"),
            ("postgres://:hunter2@db/rows", "postgres://:[redacted]@db/rows"),
            ("postgres://a:hun%40ter2@db/rows?sslmode=require", "postgres://a:[redacted]@db/rows?sslmode=require"),
            ("postgres://a:hun@hunter2@db/rows", "postgres://a:[redacted]@db/rows"),
            ("postgres://db/rows?user=a&password=hunter2", "postgres://db/rows?user=a&[redacted]"),
            ("postgres://a:hunter2/x@db/rows", "[redacted]"),
            ("postgres://a:hunter2?x@db/rows", "[redacted]"),
            ("postgres://a:hunter2#x@db/rows", "[redacted]"),
            ("postgres:/a:hunter2@db/rows", "[redacted]"),
            ("postgres://a/hunter2@db/rows", "[redacted]"),
            ("mysql://a:hunter2@db/rows", "[redacted]"),
            ("hunter2", "[redacted]"),
            ("", "[redacted]"),
        ] {
            assert_eq!(redact(url), shown, "{url}");
            assert!(!format!("{:?}", DatabaseUrl::from(url)).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn a_url_that_names_no_database_is_refused_without_its_password() {
        for url in ["", "hunter2", "mysql://a:hunter2@db/x", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro"] {
            let error = format!("{:#}", prepare(url).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
