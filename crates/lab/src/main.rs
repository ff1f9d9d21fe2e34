//! The lab's command line: what `make lab-up`, `make demo` and `make test` run.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use fairlead_lab::cluster::{self, Cluster};
use fairlead_lab::control_plane::{self, ControlPlane};
use fairlead_lab::ingress::{Ingress, IngressSettings, Visitor, kept};
use fairlead_lab::process::Process;
use fairlead_lab::{apiserver, bench, demo, kubeflow, paths, postgres, service_map};

/// A real Kubernetes on this machine, for Fairlead's tests and its demo.
///
/// `up` starts one node with real Pods in namespaces of its own; `down` leaves nothing of it. Needs root.
/// `FAIRLEAD_KUBE_BIN=DIR` takes Kubernetes binaries from DIR (1.20 and 1.36 are known to work); without it, 1.20.2 is
/// built once from Debian's source package. `FAIRLEAD_LAB_INSTALLATION=production` has Fairlead installed as in
/// production, on PostgreSQL, instead of all in one Pod.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Starts the cluster, or says that it runs; prints the kubeconfig's path
    Up {
        /// Start only etcd and an API server on loopback, as often as you like; no Pods, no root
        #[arg(long)]
        control_plane: bool,
        /// The API server's port with --control-plane; a free one by default
        #[arg(long, requires = "control_plane")]
        port: Option<u16>,
    },
    /// Ends the cluster and the kept control planes, and removes what a crash left
    Down,
    /// Shows what runs, with memory; exits with 1 when no cluster is up
    Status,
    /// Starts the cluster, runs a command with its KUBECONFIG, and ends what it started, also when the command fails
    Run {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Shows the main job: a cluster, Fairlead in it, a notebook, and who gets into it by `ssh`
    Demo,
    /// Ends the demo and its cluster
    DemoDown,
    /// Measures the lab and a notebook's sshd, in rounds; prints a Markdown table. Ends a running cluster first
    Bench,
    /// Measures the page on 2,000 notebooks and 200 event streams; prints a Markdown table
    BenchPage {
        /// The server's binary; a release build, for the figures to mean something
        #[arg(long)]
        server: PathBuf,
    },
    /// Measures the operator, by default on 500, 2,000 and 8,000 notebooks; prints a Markdown table
    ///
    /// In a network of its own (`unshare --net`), starts etcd and an API server for each size, writes profiles of ten
    /// notebooks, three contributors each, and five keys a person, and runs the real server with the part `operator` on
    /// SQLite. Measures how long it takes until every Secret is there and every Pod is touched, beside a plain client
    /// that writes the same; what it costs while nothing changes; and single changes. 8,000 take about ten minutes.
    BenchOperator {
        /// The server's binary; a release build, for the figures to mean something
        #[arg(long)]
        server: PathBuf,
        /// Numbers of notebooks, rounded up to tens
        #[arg(long, value_delimiter = ',', default_values_t = [500, 2000, 8000])]
        sizes: Vec<usize>,
    },
    /// Serves a folder of pages that were made before (the page's benchmark starts it itself)
    #[command(hide = true)]
    BenchPagePeer {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        folder: PathBuf,
    },
    /// Runs the stand-in for Kubeflow's ingress, sign-in and dashboard (the demo starts it itself)
    #[command(hide = true)]
    Ingress {
        /// Where it listens, on loopback
        #[arg(long)]
        listen: SocketAddr,
        /// The page behind it
        #[arg(long)]
        upstream: String,
        /// A file with the secret by which the page knows it
        #[arg(long)]
        secret_file: PathBuf,
        /// Somebody to pick, as USER=NAMESPACE,NAMESPACE; several times
        #[arg(long = "person")]
        people: Vec<Visitor>,
    },
    /// Runs the stand-in for Kubeflow's controllers (the cluster starts it itself)
    #[command(hide = true)]
    Kubeflow {
        #[arg(long)]
        kubeconfig: PathBuf,
    },
    /// Runs the stand-in for kube-proxy (the cluster starts it itself where the binaries have none)
    #[command(hide = true)]
    ServiceMap {
        #[arg(long)]
        kubeconfig: PathBuf,
    },
}

fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FAIRLEAD_LOG");
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| "info,kube=off,kube_client=off".into()))
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("starting tokio: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli.command)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { control_plane: true, port } => {
            let plane = match port {
                Some(port) => ControlPlane::start_on(port).await?,
                None => ControlPlane::start().await?,
            };
            say(&format!("export KUBECONFIG={}", plane.keep()?.display()));
        }
        Verb::Up { .. } => {
            let cluster = Cluster::shared().await?;
            say(&format!("export KUBECONFIG={}", cluster.kubeconfig.display()));
        }
        Verb::Down => down()?,
        Verb::Status => return status(),
        Verb::Run { command } => return run_with_cluster(&command).await,
        Verb::Demo => demo::run().await?,
        Verb::DemoDown => {
            demo::remove()?;
            down()?;
        }
        Verb::Bench => say(&bench::run().await?),
        Verb::BenchOperator { server, sizes } => {
            bench::operator::inside_own()?;
            say(&bench::operator::run(&server, &sizes).await?);
        }
        Verb::BenchPage { server } => say(&bench::page::run(&server).await?),
        Verb::BenchPagePeer { listen, folder } => bench::page::serve_peer(listen, &folder).await?,
        Verb::Ingress { listen, upstream, secret_file, people } => {
            let secret = fs::read_to_string(&secret_file);
            let secret = secret.with_context(|| format!("reading `{}`", secret_file.display()))?;
            let listener = tokio::net::TcpListener::bind(listen).await;
            let listener = listener.with_context(|| format!("listening on {listen}"))?;
            let settings = IngressSettings { secret: secret.trim().to_owned(), people };
            Ingress::serve(listener, &upstream, settings).await?;
        }
        Verb::Kubeflow { kubeconfig } => kubeflow::run(apiserver::client(&kubeconfig).await?).await?,
        Verb::ServiceMap { kubeconfig } => service_map::run(apiserver::client(&kubeconfig).await?).await?,
    }
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<()> {
    let planes = control_plane::remove_all()?;
    match (cluster::down()?, planes) {
        (false, 0) => say("nothing was up"),
        (cluster, planes) => say(&format!("ended: {} cluster, {planes} control planes", i32::from(cluster))),
    }
    Ok(())
}

fn status() -> Result<ExitCode> {
    for (dir, owned) in control_plane::list()? {
        say(&format!(
            "control plane {}{}",
            dir.display(),
            if owned { "" } else { " (abandoned: the next `down` removes it)" }
        ));
    }
    let processes = Process::of(&paths::cluster());
    let kept = [kept::process(&paths::cluster()), postgres::process(&paths::cluster())];
    for process in processes.iter().chain(kept.iter().flatten()) {
        let state =
            if process.alive() { format!("{:>4} MiB", process.resident_kib() / 1024) } else { "dead".to_owned() };
        say(&format!("{:<24} {state:>9}  pid {}", process.name, process.pid));
    }
    Ok(match Cluster::running() {
        Some(cluster) => {
            say(&format!("the cluster is up: export KUBECONFIG={}", cluster.kubeconfig.display()));
            ExitCode::SUCCESS
        }
        None if processes.is_empty() => {
            say("no cluster is up; start one: make lab-up");
            ExitCode::FAILURE
        }
        None => {
            say("the cluster is broken; its logs are in the log folder of its state; remove it: make lab-down");
            ExitCode::FAILURE
        }
    })
}

async fn run_with_cluster(command: &[String]) -> Result<ExitCode> {
    let before = Cluster::running().is_some();
    let cluster = Cluster::shared().await?;
    let [program, arguments @ ..] = command else { bail!("no command to run") };
    let mut command = Command::new(program);
    command.args(arguments).env("KUBECONFIG", &cluster.kubeconfig);
    let status = tokio::task::spawn_blocking(move || command.status()).await.context("waiting for the command")?;
    if !before {
        cluster::down()?;
    }
    let status = status.with_context(|| format!("running `{program}`"))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// A command's answer goes to stdout; everything else is a log on stderr.
fn say(line: &str) {
    use std::io::Write as _;
    // Nobody may be listening any more.
    let _ = writeln!(std::io::stdout(), "{line}");
}
