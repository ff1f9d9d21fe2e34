//! `fairlead-server serve`: a table of contents. What each part does is in its own file.

mod cluster_side;
mod gateway_side;
mod identity_side;
mod leader;
mod page_side;
mod rows;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_model::World;
use fairlead_model::world::DefaultSsh;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Worlds};
use crate::page;
use crate::recorder::Recorder;
use crate::settings::{Part, Settings, SshDefault};
use crate::store::Store;
use crate::web::{self, Metrics, Readiness};
use cluster_side::ClusterSide;
use gateway_side::GatewaySide;
use page_side::PageSide;

pub use rows::feed_rows;
pub(crate) use rows::wait_for_rows;

/// How long an end waits until all records are written.
const FLUSH: Duration = Duration::from_secs(10);

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub async fn run(settings: Settings) -> Result<()> {
    // Before anything runs: a page that would believe anybody is none.
    let page = settings.parts.contains(&Part::Page).then(|| page::Settings::read(&settings.page)).transpose()?;
    let readiness = Arc::new(Readiness::new());
    let metrics = Arc::new(Metrics::new());
    let stop = stop_signal()?;
    // What sessions are decided by is followed until the last of them has ended, which is long after `stop`: whoever loses
    // a right meanwhile is cut.
    let over = CancellationToken::new();
    // Parts that run until they fail. Each `spawn` returns `Result<()>`; the first that ends, ends the process.
    let mut parts: JoinSet<Result<()>> = JoinSet::new();

    readiness.wait_for("store", "the database is not open yet");
    let listener = bind(settings.metrics_listen).await.context("opening the port for health and metrics")?;
    parts.spawn(web::serve(listener, readiness.clone(), metrics.clone()));

    let store = Store::open(&settings.database.url).await?;
    readiness.met("store");
    let recorder = Recorder::start(store.clone());
    let (facts, worlds) = ledger::start(empty_world(settings.ssh));
    parts.spawn(feed_rows(store.clone(), facts.clone()));
    if !settings.dry_run {
        parts.spawn(rows::beat(store.clone(), settings.parts.iter().map(|part| part.word()).collect()));
    }
    parts.spawn(count(worlds.clone(), recorder.clone(), metrics.clone()));

    let gateway = GatewaySide {
        store: store.clone(),
        worlds: worlds.clone(),
        recorder: recorder.clone(),
        metrics: metrics.clone(),
        readiness: readiness.clone(),
        stop: stop.clone(),
    };
    let page = page.map(|page| PageSide {
        page,
        store: store.clone(),
        worlds: worlds.clone(),
        recorder: recorder.clone(),
        readiness: readiness.clone(),
        stop: stop.clone(),
    });
    let side = ClusterSide { store, facts, worlds, metrics, readiness, stop: stop.clone(), over: over.clone() };
    // Apart from the others, because they go on for a while after the stop: sessions may end by themselves, and a leader
    // says that it leads no more.
    let mut lasting = JoinSet::new();
    // `None` in a dry run.
    let showing = side.start(&settings, &mut parts, &mut lasting).await?;
    if let (Some(page), Some(showing)) = (page, &showing) {
        parts.spawn(page.run(settings.clone(), showing.clone()));
    }
    if let Some(showing) = showing.filter(|_| settings.parts.contains(&Part::Gateway)) {
        lasting.spawn(gateway.run(settings, showing));
    }

    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => failure(ended),
        Some(ended) = lasting.join_next() => if stop.is_cancelled() { Ok(()) } else { failure(ended) },
    };
    stop.cancel();
    while lasting.join_next().await.is_some() {}
    over.cancel();
    let lost = recorder.flush(FLUSH).await;
    if lost > 0 {
        tracing::error!(lost, "records are lost: the database is away");
    }
    ended
}

fn failure(ended: Result<Result<()>, JoinError>) -> Result<()> {
    match ended.context("a part of the server broke") {
        Ok(Ok(())) => bail!("a part of the server ended"),
        Ok(Err(error)) | Err(error) => Err(error),
    }
}

fn empty_world(ssh: SshDefault) -> World {
    let mut world = World::default();
    world.default_ssh = match ssh {
        SshDefault::OptOut => DefaultSsh::OptOut,
        SshDefault::OptIn => DefaultSsh::OptIn,
    };
    world
}

/// Keeps the metrics of world and queue.
async fn count(mut worlds: Worlds, recorder: Recorder, metrics: Arc<Metrics>) -> Result<()> {
    let mut unwritten = recorder.unwritten();
    loop {
        metrics.world_notebooks.set(small(worlds.borrow_and_update().notebooks().count()));
        metrics.store_queue.set(small(*unwritten.borrow_and_update()));
        tokio::select! {
            changed = worlds.changed() => changed.context("the ledger ended")?,
            changed = unwritten.changed() => changed.context("the recorder ended")?,
        }
    }
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on `{address}`"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    Ok(listener)
}

/// Cancelled by the first SIGTERM or SIGINT.
fn stop_signal() -> Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        tracing::info!("asked to stop");
        stopped.cancel();
    });
    Ok(stop)
}

fn small(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
