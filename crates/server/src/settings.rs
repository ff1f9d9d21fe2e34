//! Every setting, once: flags and `FAIRLEAD_*`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fairlead_model::cidr::{BadCidr, Cidr};
use fairlead_model::plan::mesh;

use crate::store::DatabaseUrl;

/// What `serve` runs with.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Which parts run in this process
    #[arg(long, env = "FAIRLEAD_PARTS", value_delimiter = ',', default_values = ["operator", "webhook", "gateway", "page"])]
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
    /// A folder with the Secret `fairlead-gateway` as files: then a process without the part `operator` asks the API
    /// server for no Secret, and needs neither host CA nor master secret
    #[arg(long, env = "FAIRLEAD_GATEWAY_IDENTITY_FILES")]
    pub gateway_identity_files: Option<PathBuf>,
    /// This process's name where it leads: the Pod's
    #[arg(long, env = "FAIRLEAD_POD_NAME", default_value = "fairlead-server")]
    pub pod_name: String,
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
    /// Policies of mesh and network
    #[command(flatten)]
    pub mesh: Mesh,
    /// The page
    #[command(flatten)]
    pub page: PageFlags,
    /// Logs as JSON lines instead of text
    #[arg(long, env = "FAIRLEAD_LOG_JSON")]
    pub log_json: bool,
}

/// What the part `page` runs with.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct PageFlags {
    /// Where the page listens for HTTP, from the ingress
    #[arg(long = "page-listen", env = "FAIRLEAD_PAGE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What every path of the page begins with
    #[arg(long = "page-prefix", env = "FAIRLEAD_PAGE_PREFIX", default_value = "/fairlead")]
    pub prefix: String,
    /// The page's own host name; without one it shares the dashboard's, where notebooks can script it
    #[arg(long = "page-host", env = "FAIRLEAD_PAGE_HOST")]
    pub host: Option<String>,
    /// Origins, besides its own, whose pages may frame the page: `https://kubeflow.example.com`
    #[arg(long = "page-frame-ancestors", env = "FAIRLEAD_PAGE_FRAME_ANCESTORS", value_delimiter = ',')]
    pub frame_ancestors: Vec<String>,
    /// The header in which the ingress says who the visitor is
    #[arg(long = "page-user-header", env = "FAIRLEAD_PAGE_USER_HEADER", default_value = "kubeflow-userid")]
    pub user_header: String,
    /// What stands before the user id in that header
    #[arg(long = "page-user-prefix", env = "FAIRLEAD_PAGE_USER_PREFIX", default_value = "")]
    pub user_prefix: String,
    /// What the ingress sends as `x-fairlead-ingress`, so that nobody else is believed; at least 32 characters
    #[arg(long = "page-ingress-secret", env = "FAIRLEAD_PAGE_INGRESS_SECRET", hide_env_values = true)]
    pub ingress_secret: Option<String>,
    /// Who sees and switches everything: user ids
    #[arg(long = "page-admins", env = "FAIRLEAD_PAGE_ADMINS", value_delimiter = ',')]
    pub admins: Vec<String>,
    /// Let admins be admins although every notebook's page can script this one in their name
    #[arg(long = "page-admin-on-shared-origin", env = "FAIRLEAD_PAGE_ADMIN_ON_SHARED_ORIGIN")]
    pub admin_on_shared_origin: bool,
    /// Who is in a group sees and switches everything, too: the header in which the ingress names groups
    #[arg(long = "page-admin-group-header", env = "FAIRLEAD_PAGE_ADMIN_GROUP_HEADER", requires = "admin_group")]
    pub admin_group_header: Option<String>,
    /// That group; `check --page-url` shows whether the ingress lets a client name it
    #[arg(long = "page-admin-group", env = "FAIRLEAD_PAGE_ADMIN_GROUP", requires = "admin_group_header")]
    pub admin_group: Option<String>,
    /// Let cookies travel without TLS
    #[arg(long = "page-insecure-cookies", env = "FAIRLEAD_PAGE_INSECURE_COOKIES")]
    pub insecure_cookies: bool,
    /// Believe anybody to be whom they say, to try the page out; only with `--page-listen 127.0.0.1:…`
    #[arg(long = "page-demo", env = "FAIRLEAD_PAGE_DEMO")]
    pub demo: bool,
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

/// What Fairlead does about policies of mesh and network.
#[derive(Debug, Clone, Args)]
pub struct Mesh {
    /// How Istio's sidecars let gateways through to sshd: the port excluded, policies written, or somebody else's work
    #[arg(long = "mesh", env = "FAIRLEAD_MESH", default_value = "exclude")]
    pub mode: MeshMode,
    /// Who else may dial notebooks, as a company network that reaches Pods: addresses and blocks, with commas
    #[arg(long, env = "FAIRLEAD_DIRECT_CIDRS", default_value = "", hide_default_value = true)]
    pub direct_cidrs: DirectCidrs,
    /// Write a NetworkPolicy for port 2209 where no other is; from Kubernetes 1.22 on, with a network that knows `endPort`
    #[arg(long, env = "FAIRLEAD_NETWORK_POLICIES")]
    pub network_policies: bool,
}

/// `--mesh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MeshMode {
    /// New Pods have port 2209 excluded from their sidecar: sshd and NetworkPolicies alone guard it.
    Exclude,
    /// AuthorizationPolicies and PeerAuthentications that Fairlead writes. The mesh must not wait for the client to speak
    /// first (`meshConfig.protocolDetectionTimeout` above 0 s), and may cut sessions when gateways change.
    Policies,
    /// Fairlead does nothing.
    None,
}

/// `--direct-cidrs`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirectCidrs(BTreeSet<Cidr>);

impl FromStr for DirectCidrs {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(Cidr::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Mesh {
    /// The same in the model's words; `namespace` is where gateways are.
    #[must_use]
    pub fn planned(&self, namespace: &str) -> mesh::Settings {
        mesh::Settings {
            mode: match self.mode {
                MeshMode::Policies => mesh::Mode::Policies,
                MeshMode::Exclude => mesh::Mode::Exclude,
                MeshMode::None => mesh::Mode::None,
            },
            direct: self.direct_cidrs.0.clone(),
            network_policies: self.network_policies,
            namespace: namespace.to_owned(),
        }
    }
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
    /// The web page.
    Page,
}

impl Part {
    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Webhook => "webhook",
            Self::Gateway => "gateway",
            Self::Page => "page",
        }
    }
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
