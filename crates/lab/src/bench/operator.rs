//! The operator's benchmark: the real server on a real API server, whose Pods and their status are written here; every
//! Secret is really written. Beside it, what the API server itself needs for the same writes.

mod changes;
mod network;
mod peer;
mod people;
mod requests;
mod seen;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;

use self::requests::Requests;
use self::seen::Seen;
use super::figures::Figures;
use super::page::cast::{self, NOTEBOOKS};
use super::running::{self, Running};
use crate::control_plane::ControlPlane;
use crate::paths;

pub use self::network::inside_own;

/// How long the operator is left alone.
const WATCHED: Duration = Duration::from_secs(30);
/// After the last write and before that: Events are written, the picture is, memory is given back.
const SETTLE: Duration = Duration::from_secs(15);
/// No size takes longer to converge, on a machine where this can be measured.
const PATIENCE: Duration = Duration::from_mins(15);
/// How often Secrets are looked after, while that is measured.
const RESYNC: Duration = Duration::from_secs(30);

/// Measures the binary `server` at each number of notebooks and returns a Markdown table; the figures are also in
/// `target/bench/operator.json`.
pub async fn run(server: &Path, sizes: &[usize]) -> Result<String> {
    ensure!(server.is_file(), "there is no `{}`\nhint: make bench-operator", server.display());
    let server = server.canonicalize().context("finding the server")?;
    let folder = paths::project().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
    let mut figures = Figures::start();
    network::answer_as_sshd().await?;
    for size in sizes {
        tracing::info!("{size} notebooks");
        one_size(&server, &folder.join("operator"), *size, &mut figures).await?;
    }
    figures.finish(&folder.join("operator.json"))
}

async fn one_size(server: &Path, state: &Path, size: usize, figures: &mut Figures) -> Result<()> {
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let profiles = size.div_ceil(NOTEBOOKS);
    running::make_identity(server, &plane.kubeconfig, state).await?;
    cast::write_profiles(&client, profiles, |of| people::contributors(of, profiles)).await?;
    people::import_keys(server, state, profiles)?;

    tracing::info!("the same writes by a plain client");
    let peer = peer::write(&client, profiles).await?;
    let mut seen = Seen::start(&client);
    let (secrets, pods) = (profiles * NOTEBOOKS, profiles * peer::TOUCHED);

    tracing::info!("a cold start");
    let before = Requests::read(&client).await?;
    let began = Instant::now();
    let operator = Running::start_operator(server, &plane.kubeconfig, state, Duration::from_mins(10))?;
    let ended = seen.until(PATIENCE, |seen| seen.complete(people::LINES) == (secrets, pods)).await?;
    let took = ended.duration_since(began).as_secs_f64();
    figures.add_against(&format!("{size}: cold start to converged"), "s", vec![took], vec![peer]);
    figures.add(&format!("{size}: CPU of the operator for it"), "s", vec![operator.cpu_seconds()?]);
    let requests = Requests::read(&client).await?.since(&before);
    let each = 1.0 / f64::from(u32::try_from(secrets)?);
    figures.add(&format!("{size}: requests for it, by notebook"), "", vec![requests.of_objects() * each]);
    tokio::time::sleep(SETTLE).await;
    figures.add(&format!("{size}: operator's peak of memory (VmHWM)"), "MiB", vec![operator.peak_kib() / 1024.0]);

    tracing::info!("nothing changes");
    steady(&client, &operator, &format!("{size}: nothing changes"), figures).await?;
    figures.add(&format!("{size}: operator's PSS"), "MiB", vec![operator.pss_kib() / 1024.0]);

    changes::measure(server, state, &client, &mut seen, profiles, figures).await?;
    figures.add(&format!("{size}: operator's PSS after the changes"), "MiB", vec![operator.pss_kib() / 1024.0]);
    drop(operator);

    tracing::info!("a start with everything in place");
    let began = Instant::now();
    let operator = Running::start_operator(server, &plane.kubeconfig, state, RESYNC)?;
    let all = f64::from(u32::try_from(secrets)?);
    while operator.metric("fairlead_secret_writes_total").await < all {
        ensure!(began.elapsed() < PATIENCE, "the operator does not look at all Secrets");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    figures.add(&format!("{size}: start with everything in place"), "s", vec![began.elapsed().as_secs_f64()]);
    let resync = RESYNC.as_secs();
    tokio::time::sleep(RESYNC).await;
    steady(&client, &operator, &format!("{size}: every Secret looked after each {resync} s"), figures).await
}

/// What the operator costs while it is left alone.
async fn steady(client: &Client, operator: &Running, what: &str, figures: &mut Figures) -> Result<()> {
    let (requests, cpu) = (Requests::read(client).await?, operator.cpu_seconds()?);
    tokio::time::sleep(WATCHED).await;
    figures.add(&format!("{what}: CPU"), "% of a core", vec![operator.load(cpu, WATCHED)?]);
    let requests = Requests::read(client).await?.since(&requests);
    let minutes = WATCHED.as_secs_f64() / 60.0;
    figures.add(&format!("{what}: requests a minute"), "", vec![requests.of_objects() / minutes]);
    Ok(())
}
