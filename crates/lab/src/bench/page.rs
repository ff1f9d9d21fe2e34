//! The page's benchmark: the real server on 2,000 notebooks and 200 open event streams, each figure beside a peer's.

pub(super) mod cast;
mod mix;
mod peer;
mod streams;
mod visits;

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::Client;

use self::mix::Mix;
use self::visits::Visits;
use super::figures::Figures;
use super::running::{self, Running};
use crate::control_plane::ControlPlane;
use crate::paths;

pub use self::peer::serve as serve_peer;

/// How often each page is asked for, and its peer as often.
const REQUESTS: usize = 400;
/// Of the largest page fewer are enough, and it takes longer.
const LARGE_REQUESTS: usize = 200;
/// Changes whose way to all streams is measured.
const CHANGES: usize = 30;
/// How long the server is left alone with its streams, and how long it has a change a second.
const WATCHED: Duration = Duration::from_secs(30);

/// Measures the binary `server` and returns a Markdown table; the figures are also in `target/bench/page.json`.
pub async fn run(server: &Path) -> Result<String> {
    ensure!(server.is_file(), "there is no `{}`\nhint: make bench-page", server.display());
    let server = server.canonicalize().context("finding the server")?;
    let folder = paths::project().join("target/bench");
    fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
    let mut figures = Figures::start();
    let plane = ControlPlane::start().await?;
    let client = plane.client().await?;
    let state = folder.join("page");
    running::make_identity(&server, &plane.kubeconfig, &state).await?;
    cast::write(&client).await?;

    tracing::info!("pages, with no stream open");
    let page = Running::start_page(&server, &plane.kubeconfig, &state).await?;
    let visits = Visits::start(&page, &state).await?;
    latencies(&visits, "", &mut figures).await?;
    drop((visits, page));

    // A process that has not rendered a large page before: what streams cost would vanish in what it kept of that.
    tracing::info!("streams");
    let page = Running::start_page(&server, &plane.kubeconfig, &state).await?;
    let visits = Visits::start(&page, &state).await?;
    with_streams(&client, &page, &visits, &mut figures).await?;
    figures.finish(&folder.join("page.json"))
}

/// The pages' times, one and eight at a time.
async fn latencies(visits: &Visits, when: &str, figures: &mut Figures) -> Result<()> {
    for (page, requests) in [(&visits.small, REQUESTS), (&visits.large, LARGE_REQUESTS)] {
        for at_once in [1, 8] {
            let (ours, peers) = visits.compare(page, requests, at_once).await?;
            figures.add_against(&format!("{}, {at_once} at a time{when}", page.name), "ms", ours, peers);
        }
    }
    Ok(())
}

async fn with_streams(client: &Client, page: &Running, visits: &Visits, figures: &mut Figures) -> Result<()> {
    let mut mix = Mix::open(client, page, visits, figures).await?;
    let before = page.cpu_seconds()?;
    tokio::time::sleep(WATCHED).await;
    figures.add("CPU of the server, 200 streams, nothing changes", "% of a core", vec![page.load(before, WATCHED)?]);

    tracing::info!("{CHANGES} changes");
    mix.changes(CHANGES, figures).await?;
    figures.add("server's PSS after the changes", "KiB", vec![page.pss_kib()]);

    let changing = mix.change_every_second();
    let before = page.cpu_seconds()?;
    tokio::time::sleep(WATCHED).await;
    figures.add("CPU of the server, 200 streams, a change a second", "% of a core", vec![page.load(before, WATCHED)?]);
    tracing::info!("pages, with 200 streams open and a change a second");
    let measured = latencies(visits, ", 200 streams", figures).await;
    changing.abort();
    measured?;
    figures.add("server's PSS at the end", "KiB", vec![page.pss_kib()]);
    Ok(())
}
