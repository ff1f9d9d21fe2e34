//! `fairlead-server database …`: a backup of an SQLite database, from inside of the server's image.

use std::fs::File;
use std::io::{copy, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::random;
use crate::settings::Database;
use crate::store::backup::backup;

/// `database` and where it is.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    #[command(flatten)]
    database: Database,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copy an SQLite database as it is at one moment, while the server goes on
    Backup {
        /// A new file, or `-` for standard output
        file: PathBuf,
    },
}

/// Runs it.
pub async fn run(args: DatabaseArgs) -> Result<()> {
    let Command::Backup { file } = args.command;
    if file != Path::new("-") {
        return backup(&args.database.url, &file).await;
    }
    // Beside the database: there is room for it, and in an image nothing else may be written to.
    let path = args.database.url.as_str().trim_start_matches("sqlite:").trim_start_matches("//");
    let beside = PathBuf::from(format!("{path}.backup-{}", random::id()?));
    backup(&args.database.url, &beside).await?;
    let opened = File::open(&beside).with_context(|| format!("reading the file `{}`", beside.display()));
    let written = opened.and_then(|mut file| copy(&mut file, &mut stdout().lock()).context("writing the backup"));
    std::fs::remove_file(&beside).with_context(|| format!("removing the file `{}`", beside.display()))?;
    written.map(drop)
}
