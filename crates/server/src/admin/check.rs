//! `fairlead-server check`: its arguments and its answer.

use std::io::stdout;

use anyhow::{Context, Result, bail};
use clap::Args;
use fairlead_model::HostSuffix;

use crate::check::{self, Check, PageCheck};
use crate::settings::{Cluster, Database, Mesh, Part, SshDefault};
use crate::store::Store;
use crate::{clock, cluster};

/// `check` and what it looks at.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    database: Database,
    #[command(flatten)]
    cluster: Cluster,
    /// As `serve` has it where this is called: what is needed there is looked at
    #[arg(long, env = "FAIRLEAD_PARTS", value_delimiter = ',', default_values = ["operator", "webhook", "gateway", "page"])]
    parts: Vec<Part>,
    /// What every notebook's host name ends in
    #[arg(long, env = "FAIRLEAD_HOST_SUFFIX", default_value = "notebook")]
    host_suffix: String,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_SSH", default_value = "opt-out")]
    ssh: SshDefault,
    /// As `serve` has them
    #[command(flatten)]
    mesh: Mesh,
    /// The page's address through the ingress, to see that nobody there says who they are: `https://HOST/fairlead`
    #[arg(long)]
    page_url: Option<String>,
    /// With `--page-url`: what the browser of somebody signed in, no admin, sends as `Cookie`
    #[arg(long, env = "FAIRLEAD_CHECK_PAGE_COOKIE", hide_env_values = true, default_value = "", requires = "page_url")]
    page_cookie: String,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_PAGE_USER_HEADER", default_value = "kubeflow-userid")]
    page_user_header: String,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_PAGE_USER_PREFIX", default_value = "")]
    page_user_prefix: String,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_PAGE_ADMIN_GROUP_HEADER", requires = "page_admin_group")]
    page_admin_group_header: Option<String>,
    /// As `serve` has it
    #[arg(long, env = "FAIRLEAD_PAGE_ADMIN_GROUP", requires = "page_admin_group_header")]
    page_admin_group: Option<String>,
    /// NAMESPACE/NOTEBOOK, or a notebook's host name
    notebook: Option<String>,
}

/// Looks, writes what it finds, and fails where something keeps people out.
pub async fn run(args: CheckArgs) -> Result<()> {
    let suffix = HostSuffix::parse(&args.host_suffix).context("reading `--host-suffix`")?;
    let notebook = args.notebook.map(|text| check::parse_notebook(&text, &suffix)).transpose()?;
    let client = cluster::connect(&args.cluster).await?;
    let store = Store::open(&args.database.url).await;
    let page = args.page_url.map(|url| PageCheck {
        url,
        cookie: args.page_cookie,
        user_header: args.page_user_header,
        user_prefix: args.page_user_prefix,
        group: args.page_admin_group_header.zip(args.page_admin_group),
    });
    let namespace = args.cluster.namespace;
    let mesh = args.mesh.planned(&namespace);
    let parts = args.parts;
    let check = Check { client, store, namespace, suffix, ssh: args.ssh, mesh, parts, page, now: clock::now };
    let findings = check.run(notebook.as_ref()).await;
    if !check::write(&findings, &mut stdout().lock())? {
        bail!("something keeps people out: see the lines with FAIL");
    }
    Ok(())
}
