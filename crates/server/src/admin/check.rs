//! `fairlead-server check`: its arguments and its answer.

use std::io::stdout;

use anyhow::{Context, Result, bail};
use clap::Args;
use fairlead_model::HostSuffix;

use crate::check::{self, Check};
use crate::settings::{Cluster, Database, SshDefault};
use crate::store::Store;
use crate::{clock, cluster};

/// `check` and what it looks at.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    cluster: Cluster,
    /// What every notebook's host name ends in
    #[arg(long, env = "FAIRLEAD_HOST_SUFFIX", default_value = "notebook")]
    host_suffix: String,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_SSH", default_value = "opt-out")]
    ssh: SshDefault,
    /// NAMESPACE/NOTEBOOK, or a notebook's host name
    notebook: Option<String>,
}

/// Looks, writes what it finds, and fails where something keeps people out.
pub async fn run(args: CheckArgs) -> Result<()> {
    let suffix = HostSuffix::parse(&args.host_suffix).context("reading `--host-suffix`")?;
    let notebook = args.notebook.map(|text| check::parse_notebook(&text, &suffix)).transpose()?;
    let client = cluster::connect(&args.cluster).await?;
    let store = Store::open(&args.database.url).await;
    let check = Check { client, store, namespace: args.cluster.namespace, suffix, ssh: args.ssh, now: clock::now };
    let findings = check.run(notebook.as_ref()).await;
    if !check::write(&findings, &mut stdout().lock())? {
        bail!("something keeps people out: see the lines with FAIL");
    }
    Ok(())
}
