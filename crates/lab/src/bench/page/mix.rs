//! The 200 open pages: half of them of somebody who sees all notebooks, half of somebody who sees ten; and the changes
//! that reach them all, timed beside a client that watches the API server itself.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use kube::api::{DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::super::figures::Figures;
use super::super::running::Running;
use super::cast;
use super::streams::Streams;
use super::visits::Visits;
use crate::kubeflow::notebook::STOPPED;
use crate::team::kind;

/// Streams of each of the two visitors.
const EACH: usize = 100;
/// After streams were opened and before memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// The open pages, and who watches beside them.
pub(super) struct Mix {
    streams: Streams,
    notebooks: Api<DynamicObject>,
    watched: mpsc::UnboundedReceiver<(Instant, bool)>,
    watch: AbortHandle,
}

impl Mix {
    /// Opens all streams; what they cost goes into the figures.
    pub(super) async fn open(client: &Client, page: &Running, visits: &Visits, figures: &mut Figures) -> Result<Self> {
        let (notebooks, watched, watch) = follow(client).await?;
        let mut streams = Streams::new();
        let before = page.pss_kib();
        figures.add("server's PSS, no streams", "KiB", vec![before]);
        let mut last = before;
        for target in [&visits.small, &visits.large] {
            streams.open(visits, target, EACH).await?;
            tokio::time::sleep(SETTLE).await;
            let now = page.pss_kib();
            let each = u32::try_from(EACH).map(f64::from)?;
            figures.add(&format!("PSS of a stream beside a {}", target.name), "KiB", vec![(now - last) / each]);
            last = now;
        }
        Ok(Self { streams, notebooks, watched, watch })
    }

    /// Changes one notebook that all streams show, again and again: the times until the last of them says so.
    pub(super) async fn changes(&mut self, rounds: usize, figures: &mut Figures) -> Result<()> {
        let (mut firsts, mut lasts, mut after_answer, mut watches) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        self.streams.forget();
        for round in 0..rounds {
            let stopped = round % 2 == 0;
            let sent = Instant::now();
            change(&self.notebooks, stopped).await?;
            let answered = Instant::now();
            let all = tokio::time::timeout(Duration::from_secs(20), self.all_heard(stopped));
            let (first, last) = all.await.context("a change did not reach all streams in 20 s")??;
            let seen = loop {
                let (at, said) = self.watched.recv().await.context("the watch ended")?;
                if said == stopped {
                    break at;
                }
            };
            firsts.push(ms(first - sent));
            lasts.push(ms(last - sent));
            after_answer.push(ms(last.saturating_duration_since(answered)));
            watches.push(ms(seen - sent));
            // At another moment of the server's own second each time.
            let pause = 700 + 37 * u64::try_from(round)?;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        figures.add_against("change to the first of 200 streams", "ms", firsts, watches.clone());
        figures.add_against("change to the last of 200 streams", "ms", lasts, watches);
        figures.add("API server's answer to the last of 200 streams", "ms", after_answer);
        Ok(())
    }

    /// When the first and when the last stream said it.
    async fn all_heard(&mut self, stopped: bool) -> Result<(Instant, Instant)> {
        let mut missing: BTreeSet<usize> = (0..self.streams.len()).collect();
        let mut times = Vec::new();
        while !missing.is_empty() {
            let heard = self.streams.next().await?;
            if heard.id == cast::card(0, 0) && heard.stopped == stopped && missing.remove(&heard.stream) {
                times.push(heard.at);
            }
        }
        times.iter().min().copied().zip(times.iter().max().copied()).context("there are no streams")
    }

    /// Goes on changing the notebook, until the task is aborted.
    pub(super) fn change_every_second(&self) -> AbortHandle {
        let notebooks = self.notebooks.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            for round in 0_u64.. {
                ticks.tick().await;
                if let Err(error) = change(&notebooks, round % 2 == 0).await {
                    tracing::error!("{error:#}");
                }
            }
        });
        task.abort_handle()
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

async fn change(notebooks: &Api<DynamicObject>, stopped: bool) -> Result<()> {
    let value = stopped.then_some("2026-01-01T00:00:00Z");
    let patch = json!({"metadata": {"annotations": {STOPPED: value}}});
    let patched = notebooks.patch(&cast::notebook(0), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.context("changing a Notebook").map(drop)
}

type Watched = (Api<DynamicObject>, mpsc::UnboundedReceiver<(Instant, bool)>, AbortHandle);

/// What `kubectl get notebooks --watch` does, in this process: when it hears of a change, and of which.
async fn follow(client: &Client) -> Result<Watched> {
    let notebooks = Api::namespaced_with(client.clone(), &cast::profile(0), &kind("Notebook"));
    let all: Api<DynamicObject> = Api::all_with(client.clone(), &kind("Notebook"));
    let version = all.list_metadata(&kube::api::ListParams::default().limit(1)).await.context("listing Notebooks")?;
    let version = version.metadata.resource_version.unwrap_or_default();
    let (tell, watched) = mpsc::unbounded_channel();
    // Longer than all of the changes take.
    let params = WatchParams::default().timeout(290);
    let events = all.watch(&params, &version).await.context("watching Notebooks")?;
    let task = tokio::spawn(async move {
        let mut events = events.boxed();
        while let Some(event) = events.next().await {
            let Ok(WatchEvent::Modified(notebook)) = event else { continue };
            let annotations = notebook.metadata.annotations.unwrap_or_default();
            if tell.send((Instant::now(), annotations.contains_key(STOPPED))).is_err() {
                return;
            }
        }
    });
    Ok((notebooks, watched, task.abort_handle()))
}
