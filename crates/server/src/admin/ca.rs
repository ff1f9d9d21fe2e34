//! `fairlead-server ca …`: the host CA, which every client trusts by one line.

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use fairlead_model::HostSuffix;

use super::say;
use crate::cluster;
use crate::identity_store::{Identity, IdentityStore, LOOK};
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
    /// Begin to replace the CA: the next one is made and given out beside it; nothing is signed with it yet
    Rotate {
        /// End it: every client knows the next CA, which signs from now on; the old one is given out no more
        #[arg(long)]
        yes: bool,
        /// The old CA is in somebody else's hands: clients are told to refuse it, and every host key is replaced. Where
        /// no rotation was begun, the next CA is made at once
        #[arg(long, requires = "yes")]
        revoke: bool,
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
        Command::Rotate { yes: false, .. } => {
            show(&kept.begin_rotation().await?, &suffix);
            say("\nBoth lines are given out now: by `ssh fairlead-gateway config` and by the page. Who has the first");
            say("line alone gets in until the end of the rotation, and then \"No ED25519 host key is known\".");
            say("When everybody has both: fairlead-server ca rotate --yes");
        }
        Command::Rotate { yes: true, revoke: false } => {
            show(&kept.finish_rotation().await?, &suffix);
            taken_up();
            say("The old line may go from everybody's known_hosts.");
        }
        Command::Rotate { yes: true, revoke: true } => {
            let prepared = kept.load().await?.next.is_some();
            show(&kept.revoke().await?, &suffix);
            taken_up();
            say(
                "Everybody needs all of these lines at once: without the new CA nobody gets in, and without `@revoked`",
            );
            say("a client goes on to believe the old one.");
            if prepared {
                say("This CA was made when the rotation was begun. Could they read the Secret since? Then once more:");
                say("  fairlead-server ca rotate --yes --revoke");
            }
        }
    }
    Ok(())
}

fn taken_up() {
    let seconds = LOOK.as_secs();
    say(format!(
        "\nThis CA signs from now on. The operator takes it up within {seconds} seconds and writes the notebooks'"
    ));
    say("Secrets; a gateway that has its identity as mounted files follows within about two minutes.");
    say("Make a backup of the Secret: kubectl get secret -n NAMESPACE fairlead-identity -o yaml");
}

fn show(identity: &Identity, suffix: &HostSuffix) {
    say(format!("host CA:\n  {}", identity.authority.public_line()));
    if let Some(next) = &identity.next {
        say(format!("the next one, which signs nothing yet:\n  {}", next.public_line()));
    }
    let stage = match &identity.next {
        None => "no rotation is under way",
        Some(_) => "a rotation is under way: both lines are given out, and the first one signs",
    };
    say(format!("{stage}; for known_hosts:"));
    for line in identity.known_hosts(suffix).lines() {
        say(format!("  {line}"));
    }
}
