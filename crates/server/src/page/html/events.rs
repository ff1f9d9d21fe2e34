//! The stream that keeps an open list true: an event for each card that is new, changed or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use askama::Template as _;
use axum::extract::{Query, State};
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use fairlead_model::{NotebookId, Person};
use futures::Stream;
use futures::stream::{self, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::Frame;
use super::notebooks::{Card, Summary, card_id};
use crate::page::board::Board;
use crate::page::notebooks::{Chosen, NotebookView};
use crate::page::routes::Routes;
use crate::page::streams::Seat;
use crate::page::{Page, Refused};

/// Shorter than any ingress lets a silent connection live (Envoy's default for streams is 5 minutes, nginx's 60 s).
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How long a stream lives. The browser opens another, and the ingress looks again at who it is: whoever has signed out
/// learns nothing more.
const LIFE: Duration = Duration::from_mins(30);

pub(super) fn routes() -> Routes {
    Routes::new().get("/events", events)
}

#[derive(Debug, Deserialize)]
struct Shows {
    #[serde(default)]
    ns: Option<String>,
    /// The version of the list that the page shows.
    #[serde(default)]
    version: String,
}

/// What one open page shows.
struct Follower {
    page: Arc<Page>,
    frame: Arc<Frame>,
    chosen: Chosen,
    ns: String,
    shown: BTreeMap<NotebookId, u64>,
    summary: String,
    boards: tokio::sync::watch::Receiver<Board>,
    /// When the ingress is to say again who this is.
    ends: Instant,
    /// Free again when the visitor is gone.
    _seat: Seat,
}

async fn events(
    State(page): State<Arc<Page>>,
    frame: Frame,
    Query(query): Query<Shows>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let seat = page.streams.open(&frame.visitor.person)?;
    let chosen = Chosen::read(query.ns.as_deref());
    let mut boards = page.board.clone();
    let board = boards.borrow_and_update().clone();
    let person = &frame.visitor.person;
    // Something changed between the page and this stream of it.
    let stale = query.version != version(&board, person, &chosen);
    let first = stale.then(|| Ok(Event::default().event("reload").data("")));
    let shown = versions(&board, person, &chosen);
    let ns = query.ns.unwrap_or_default();
    let summary = Summary::new(&page, &frame, &chosen, &ns).render().unwrap_or_default();
    let frame = Arc::new(frame);
    let follower =
        Follower { page, frame, chosen, ns, shown, summary, boards, ends: Instant::now() + LIFE, _seat: seat };
    let next = stream::unfold(follower, async |mut follower| {
        timeout_at(follower.ends, follower.boards.changed()).await.ok()?.ok()?;
        let events = follower.catch_up();
        Some((stream::iter(events.into_iter().map(Ok)), follower))
    });
    let events = stream::iter(first).chain(next.flatten());
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

impl Follower {
    /// The events that bring the page from what it shows to what is.
    fn catch_up(&mut self) -> Vec<Event> {
        let board = self.boards.borrow_and_update().clone();
        let person = &self.frame.visitor.person;
        let mut events = Vec::new();
        let mut count = 0;
        for (id, role, version, row) in self.chosen.of(&board, person) {
            let version = with_role(version, role);
            count += 1;
            if self.shown.get(id) != Some(&version) {
                self.shown.insert(id.clone(), version);
                let card = Card { frame: self.frame.clone(), notebook: NotebookView::new(id, role, row) };
                let Ok(html) = card.render() else { continue };
                let data = json!({"id": card.id(), "key": card.key(), "html": html, "state": card.said()});
                events.push(Event::default().event("card").data(data.to_string()));
            }
        }
        if count < self.shown.len() {
            let now: BTreeSet<&NotebookId> = self.chosen.of(&board, person).map(|(id, ..)| id).collect();
            self.shown.retain(|id, _| {
                let stays = now.contains(id);
                if !stays {
                    events.push(Event::default().event("gone").data(card_id(id.namespace.as_str(), id.name.as_str())));
                }
                stays
            });
        }
        let summary = Summary::new(&self.page, &self.frame, &self.chosen, &self.ns).render().unwrap_or_default();
        if summary != self.summary {
            events.push(Event::default().event("summary").data(summary.clone()));
            self.summary = summary;
        }
        events
    }
}

fn with_role(version: u64, role: fairlead_model::Role) -> u64 {
    let mut hasher = DefaultHasher::new();
    (version, role).hash(&mut hasher);
    hasher.finish()
}

fn versions(board: &Board, person: &Person, chosen: &Chosen) -> BTreeMap<NotebookId, u64> {
    chosen.of(board, person).map(|(id, role, version, _)| (id.clone(), with_role(version, role))).collect()
}

/// One word for everything that a list shows.
pub(super) fn version(board: &Board, person: &Person, chosen: &Chosen) -> String {
    let mut hasher = DefaultHasher::new();
    versions(board, person, chosen).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
