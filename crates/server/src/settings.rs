//! Every setting, once: flags and `FAIRLEAD_*`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::store::DatabaseUrl;

/// What `serve` runs with.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Which parts run in this process
    #[arg(long, env = "FAIRLEAD_PARTS", value_delimiter = ',', default_values = ["operator", "webhook", "gateway"])]
    pub parts: Vec<Part>,
    /// The database
    #[command(flatten)]
    pub database: Database,
    /// The cluster
    #[command(flatten)]
    pub cluster: Cluster,
    /// A folder with the Secret `fairlead-identity` as files, for a start while the API server is away
    #[arg(long, env = "FAIRLEAD_IDENTITY_FILES")]
    pub identity_files: Option<PathBuf>,
    /// Take a Secret `fairlead-identity` that was there before this database: once, where the old database is lost
    #[arg(long, env = "FAIRLEAD_ADOPT_IDENTITY")]
    pub adopt_identity: bool,
    /// Where the gateway listens for SSH
    #[arg(long, env = "FAIRLEAD_GATEWAY_LISTEN", default_value = "0.0.0.0:2222")]
    pub gateway_listen: SocketAddr,
    /// Where the webhook listens for HTTPS
    #[arg(long, env = "FAIRLEAD_WEBHOOK_LISTEN", default_value = "0.0.0.0:9443")]
    pub webhook_listen: SocketAddr,
    /// Where metrics and health are served by HTTP
    #[arg(long, env = "FAIRLEAD_METRICS_LISTEN", default_value = "0.0.0.0:9090")]
    pub metrics_listen: SocketAddr,
    /// The gateway's address as people's clients reach it: HOST or HOST:PORT
    #[arg(long, env = "FAIRLEAD_GATEWAY_ADDRESS", default_value = "localhost:2222")]
    pub gateway_address: String,
    /// What SSH clients print before they sign in to the gateway: where keys are registered; nothing where empty
    #[arg(
        long,
        env = "FAIRLEAD_GATEWAY_BANNER",
        default_value = "Fairlead: is your key not known here? Ask your admin"
    )]
    pub gateway_banner: String,
    /// How long sessions through the gateway go on after it was asked to stop; in seconds
    #[arg(long, env = "FAIRLEAD_GATEWAY_DRAIN_SECONDS", default_value = "30", value_parser = seconds)]
    pub gateway_drain: Duration,
    /// What every notebook's host name ends in
    #[arg(long, env = "FAIRLEAD_HOST_SUFFIX", default_value = "notebook")]
    pub host_suffix: String,
    /// Whether SSH is on unless somebody opts out, or off unless somebody opts in
    #[arg(long, env = "FAIRLEAD_SSH", default_value = "opt-out")]
    pub ssh: SshDefault,
    /// How often everything is written again, which heals what somebody deleted; in seconds
    #[arg(long, env = "FAIRLEAD_RESYNC_SECONDS", default_value = "600", value_parser = seconds)]
    pub resync: Duration,
    /// How long a gateway goes on by a picture of the cluster that nobody renews; in seconds
    #[arg(long, env = "FAIRLEAD_MAX_STALE_SECONDS", default_value = "86400", value_parser = seconds)]
    pub max_stale: Duration,
    /// How long audit events and ended sessions are kept in the database; in days
    #[arg(long = "keep-records-days", env = "FAIRLEAD_KEEP_RECORDS_DAYS", default_value = "365", value_parser = days)]
    pub keep_records: Duration,
    /// Print what the operator would write to the cluster, and write nothing
    #[arg(long, env = "FAIRLEAD_DRY_RUN")]
    pub dry_run: bool,
    /// Logs as JSON lines instead of text
    #[arg(long, env = "FAIRLEAD_LOG_JSON")]
    pub log_json: bool,
}

/// Where rows are.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// `sqlite:PATH`, or `postgres://USER:PASSWORD@HOST/NAME` when there is more than one replica
    #[arg(
        long = "database",
        env = "FAIRLEAD_DATABASE",
        global = true,
        default_value = "sqlite:/var/lib/fairlead/fairlead.db",
        hide_env_values = true
    )]
    pub url: DatabaseUrl,
}

/// Which cluster.
#[derive(Debug, Clone, Args)]
pub struct Cluster {
    /// A kubeconfig; the Pod's own ServiceAccount, or the usual kubeconfig, where none is given
    #[arg(long, env = "FAIRLEAD_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace that Fairlead itself lives in
    #[arg(long, env = "FAIRLEAD_NAMESPACE", default_value = "fairlead-system")]
    pub namespace: String,
}

/// A part of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Delivers keys and host identities into notebooks.
    Operator,
    /// Mounts them into new Pods.
    Webhook,
    /// The SSH jump host.
    Gateway,
}

/// `--ssh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SshDefault {
    /// On, unless switched off.
    OptOut,
    /// Off, unless switched on.
    OptIn,
}

fn days(text: &str) -> Result<Duration, String> {
    let days = text.parse::<u32>().ok().filter(|days| *days > 0);
    let seconds = days.map(|days| u64::from(days) * 86_400);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("`{text}` is no number of days"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse().map(Duration::from_secs).map_err(|_| format!("`{text}` is no number of seconds"))
}
