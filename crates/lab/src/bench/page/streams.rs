//! Open streams of events, each read to what it says of cards and when.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use axum::body::Body;
use futures::StreamExt as _;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::visits::{Target, Visits};

/// A card that a stream was sent.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    /// Which stream, counted from 0.
    pub(super) stream: usize,
    pub(super) at: Instant,
    /// The element's id.
    pub(super) id: String,
    /// Whether the card says that its notebook is stopped.
    pub(super) stopped: bool,
}

/// All of them; dropping them closes them.
pub(super) struct Streams {
    tasks: JoinSet<()>,
    told: mpsc::UnboundedSender<Result<Heard>>,
    heard: mpsc::UnboundedReceiver<Result<Heard>>,
}

impl Streams {
    pub(super) fn new() -> Self {
        let (told, heard) = mpsc::unbounded_channel();
        Self { tasks: JoinSet::new(), told, heard }
    }

    /// Opens `count` more, one after the other.
    pub(super) async fn open(&mut self, visits: &Visits, target: &Target, count: usize) -> Result<()> {
        for number in 0..count {
            let who = target.people.get(number % target.people.len().max(1)).unwrap_or(&target.who);
            let body = visits.stream(target, who).await?;
            let (stream, told) = (self.tasks.len(), self.told.clone());
            self.tasks.spawn(async move {
                let Err(error) = read(stream, body, &told).await else { return };
                // Whoever listened may be gone, and then nobody wants to know.
                let _ = told.send(Err(error));
            });
        }
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// What a stream heard next, of whichever hears first.
    pub(super) async fn next(&mut self) -> Result<Heard> {
        self.heard.recv().await.context("all streams ended")?
    }

    /// Forgets what was heard and not asked for.
    pub(super) fn forget(&mut self) {
        while self.heard.try_recv().is_ok() {}
    }
}

async fn read(stream: usize, body: Body, told: &mpsc::UnboundedSender<Result<Heard>>) -> Result<()> {
    let mut chunks = body.into_data_stream();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.context("reading a stream of events")?);
        let at = Instant::now();
        while let Some(end) = text.windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = text.drain(..end + 2).collect();
            let event = String::from_utf8(event).context("an event is no text")?;
            let Some(card) = card(&event)? else { continue };
            let of = |name: &str| card[name].as_str().unwrap_or_default();
            let stopped = of("html").contains("data-state=\"stopped\"");
            if told.send(Ok(Heard { stream, at, id: of("id").to_owned(), stopped })).is_err() {
                return Ok(());
            }
        }
    }
    bail!("the server ended stream {stream}")
}

/// The data of an event `card`. One that asks for a reload is a mistake here: what the page showed is what is.
fn card(event: &str) -> Result<Option<Value>> {
    let mut lines = event.lines();
    match lines.next() {
        Some("event: card") => {}
        Some("event: reload") => bail!("a stream asks for a reload as it begins"),
        _ => return Ok(None),
    }
    let data = lines.next().and_then(|line| line.strip_prefix("data: ")).context("a card without data")?;
    serde_json::from_str(data).context("reading a card").map(Some)
}
