//! `fairlead-server ca …`: the host CA, which every client trusts by one line.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use fairlead_model::HostSuffix;

use super::say;
use crate::cluster;
use crate::identity_store::{Identity, IdentityStore};
use crate::settings::{Cluster, Database};
use crate::store::Store;

/// `ca` and where the CA is.
#[derive(Debug, Args)]
pub struct Ca {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    cluster: Cluster,
    /// What every notebook's host name ends in
    #[arg(long, env = "FAIRLEAD_HOST_SUFFIX", default_value = "notebook")]
    host_suffix: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the public key, and the line for clients' `known_hosts`
    Show,
    /// Begin to replace the CA: the next one is made and shown; nothing is signed with it yet
    Rotate {
        /// End it: every client knows the next CA, which signs from now on
        #[arg(long)]
        yes: bool,
    },
}

/// Runs one of the commands.
pub async fn run(ca: Ca) -> Result<()> {
    let suffix = HostSuffix::parse(&ca.host_suffix).context("reading `--host-suffix`")?;
    let client = cluster::connect(&ca.cluster).await?;
    let store = Store::open(&ca.database.url).await?;
    let kept = IdentityStore::new(client, &ca.cluster.namespace, store);
    match ca.command {
        Command::Show => show(&kept.load().await?, &suffix),
        Command::Rotate { yes: false } => {
            show(&kept.begin_rotation().await?, &suffix);
            say("\nEverybody now needs both lines of known_hosts: `ssh GATEWAY config` shows them.");
            say("When everybody has them: fairlead-server ca rotate --yes");
            say("Whoever has only the first line by then gets \"No ED25519 host key is known\" and adds the second.");
        }
        Command::Rotate { yes: true } => {
            show(&kept.finish_rotation().await?, &suffix);
            say("\nThis CA signs from now on; running servers take it up at their next resync (10 minutes).");
            say("Make a backup of the Secret: kubectl get secret -n NAMESPACE fairlead-identity -o yaml");
            say("Afterwards the old line may go from everybody's known_hosts.");
        }
    }
    Ok(())
}

fn show(identity: &Identity, suffix: &HostSuffix) {
    say(format!("host CA:\n  {}", identity.authority.public_line()));
    if let Some(next) = &identity.next {
        say(format!("the next one, which signs nothing yet:\n  {}", next.public_line()));
    }
    say("for known_hosts:");
    for line in identity.known_hosts(suffix).lines() {
        say(format!("  {line}"));
    }
}
