//! `fairlead-server`: `serve`, and commands for admins.

use std::io::{Write, stderr};
use std::process::ExitCode;

use anyhow::{Error, Result, anyhow};
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use fairlead_server::admin::{ca, check, config, database, keys};
use fairlead_server::settings::Settings;
use fairlead_server::{logs, serve};

/// Guides SSH from a laptop into a Kubeflow notebook
#[derive(Debug, Parser)]
#[command(name = "fairlead-server", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<Settings>),
    /// Add, list, remove and import public keys
    Keys(keys::Keys),
    /// Show the host CA that clients trust, or replace it
    Ca(ca::Ca),
    /// Make a backup of the database
    Database(database::DatabaseArgs),
    /// Say what keeps people out, and what to do about it
    Check(Box<check::CheckArgs>),
    /// Show the settings that count, without secrets
    Config(Box<Settings>),
}

#[tokio::main]
async fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let done = match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(cli, &matches).await,
        Err(error) => Err(error.into()),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Nobody may be listening any more.
    let _ = writeln!(stderr(), "error: {}", chain(&error));
    ExitCode::FAILURE
}

/// An error and its causes. Those of libraries often repeat their own causes: said once is enough.
fn chain(error: &Error) -> String {
    error.chain().fold(String::new(), |told, cause| {
        let cause = cause.to_string();
        if told.is_empty() {
            cause
        } else if told.contains(&cause) {
            told
        } else {
            format!("{told}: {cause}")
        }
    })
}

async fn run(cli: Cli, matches: &ArgMatches) -> Result<()> {
    let (json, level) = match &cli.command {
        Command::Serve(settings) => (settings.log_json, "info"),
        _ => (false, "warn"),
    };
    logs::start(json, level)?;
    let installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    installed.map_err(|_| anyhow!("a TLS library was chosen twice"))?;
    match cli.command {
        Command::Serve(settings) => serve::run(*settings).await,
        Command::Keys(keys) => keys::run(keys).await,
        Command::Ca(ca) => ca::run(ca).await,
        Command::Database(args) => database::run(args).await,
        Command::Check(args) => check::run(*args).await,
        Command::Config(_) => {
            if let Some(matches) = matches.subcommand_matches("config") {
                config::show(matches);
            }
            Ok(())
        }
    }
}
