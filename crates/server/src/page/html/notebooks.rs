//! The list of notebooks, and one of them.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fairlead_model::state::State as Stands;
use serde::Deserialize;

use super::{Frame, show};
use crate::page::html::answer::{self, Answer};
use crate::page::notebooks::{self, Chosen, NotebookView, Verb};
use crate::page::routes::Routes;
use crate::page::{Lang, Page, Refused, when};

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/", list)
        .get("/summary", summary)
        .post("/notebooks/restart", restart_all)
        .get("/notebooks/{namespace}/{name}", one)
        .post("/notebooks/{namespace}/{name}/{verb}", ask)
}

/// `?ns=`: a namespace, or all of mine.
#[derive(Debug, Deserialize)]
pub(super) struct Where {
    #[serde(default)]
    pub(super) ns: Option<String>,
}

#[derive(Template)]
#[template(path = "notebooks.html")]
struct List {
    summary: Summary,
    frame: Frame,
    ns: String,
    /// The profiles where the visitor has a role, to pick one.
    namespaces: Vec<String>,
    cards: Vec<Card>,
    /// What the cards are, so that the stream of events knows what the page shows.
    version: String,
}

/// What stands above the list: what is to do before anything works.
#[derive(Template)]
#[template(path = "notebooks_summary.html")]
pub(super) struct Summary {
    frame: Frame,
    ns: String,
    has_key: bool,
    restart: usize,
}

/// One notebook in the list.
#[derive(Template)]
#[template(path = "notebook_card.html")]
pub(super) struct Card {
    pub(super) frame: Arc<Frame>,
    pub(super) notebook: NotebookView,
}

#[derive(Template)]
#[template(path = "notebook.html")]
struct One {
    frame: Frame,
    card: Card,
    notebook: NotebookView,
    host_key: Option<HostKey>,
    suffix: String,
}

/// How a client without `@cert-authority` knows the notebook.
struct HostKey {
    fingerprint: String,
    line: String,
}

/// The id of a notebook's card: no name has what stands between the two, so that no other notebook has the same.
pub(super) fn card_id(namespace: &str, name: &str) -> String {
    format!("nb-{namespace}_{name}")
}

impl Card {
    /// The element's id, which events name.
    pub(super) fn id(&self) -> String {
        card_id(&self.notebook.namespace, &self.notebook.name)
    }

    /// What the list is in order of.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.notebook.namespace, self.notebook.name)
    }

    fn state(&self) -> &'static str {
        self.frame.text(&format!("state.{}", self.notebook.state))
    }

    /// The sentence that the change of its state is said by.
    pub(super) fn said(&self) -> String {
        self.frame.lang.say("notebooks.now", &[("name", &self.notebook.name), ("state", self.state())])
    }

    /// What to do about its state; nothing where it runs.
    fn todo(&self) -> Option<&'static str> {
        let may = self.notebook.may_connect;
        let running = self.notebook.state == Stands::Running.word();
        match (running, may) {
            (true, true) => None,
            (_, false) => Some(self.frame.text("notebooks.viewer")),
            (false, true) => Some(self.frame.text(&format!("todo.{}", self.notebook.state))),
        }
    }

    /// The image without its registry.
    fn image(&self) -> &str {
        self.notebook.image.rsplit('/').next().unwrap_or_default()
    }

    fn age(&self) -> Option<String> {
        let created = self.notebook.created_ms?;
        Some(self.frame.with("notebooks.age", "time", when::day(created)))
    }

    fn last(&self) -> Option<String> {
        let last = self.notebook.last_session_ms?;
        Some(self.frame.with("notebooks.last", "time", when::minute(last)))
    }

    fn live(&self) -> Option<String> {
        let key = match self.notebook.live_sessions {
            0 => return None,
            1 => "notebooks.live.one",
            _ => "notebooks.live.many",
        };
        Some(self.frame.with(key, "count", self.notebook.live_sessions))
    }

    fn is(&self, state: &str) -> bool {
        self.notebook.state == state
    }
}

impl Summary {
    pub(super) fn new(page: &Page, frame: &Frame, chosen: &Chosen, ns: &str) -> Self {
        let board = page.board.borrow().clone();
        let person = &frame.visitor.person;
        Self {
            has_key: page.worlds.borrow().keys_of(person).next().is_some(),
            restart: notebooks::to_restart(&board, person, chosen).len(),
            frame: frame.clone(),
            ns: ns.to_owned(),
        }
    }

    fn restart_said(&self) -> String {
        let key = if self.restart == 1 { "restart.one" } else { "restart.many" };
        self.frame.with(key, "count", self.restart)
    }
}

async fn list(State(page): State<Arc<Page>>, frame: Frame, Query(query): Query<Where>) -> Result<Response, Refused> {
    let chosen = Chosen::read(query.ns.as_deref());
    let board = page.board.borrow().clone();
    let person = frame.visitor.person.clone();
    let ns = query.ns.unwrap_or_default();
    let views = notebooks::list(&board, &person, &chosen);
    let version = super::events::version(&board, &person, &chosen);
    let namespaces = board.world.namespaces_of(&person).map(ToString::to_string).collect();
    let shared = Arc::new(frame.clone());
    let cards = views.into_iter().map(|notebook| Card { frame: shared.clone(), notebook }).collect();
    show(&List { summary: Summary::new(&page, &frame, &chosen, &ns), frame, ns, namespaces, cards, version })
}

async fn summary(State(page): State<Arc<Page>>, frame: Frame, Query(query): Query<Where>) -> Result<Response, Refused> {
    let chosen = Chosen::read(query.ns.as_deref());
    show(&Summary::new(&page, &frame, &chosen, query.ns.as_deref().unwrap_or_default()))
}

async fn one(
    State(page): State<Arc<Page>>,
    frame: Frame,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, Refused> {
    let board = page.board.borrow().clone();
    let notebook = notebooks::one(&board, &frame.visitor.person, &namespace, &name)?;
    let host_key = if notebook.may_connect { notebooks::host_key(&page, &namespace, &name).await? } else { None };
    let host_key = host_key.map(|key| HostKey {
        line: format!("{} {}", notebook.host, key.line()),
        fingerprint: key.fingerprint().to_string(),
    });
    let card = Card { frame: Arc::new(frame.clone()), notebook: notebook.clone() };
    show(&One { frame, card, notebook, host_key, suffix: page.suffix.as_str().to_owned() })
}

async fn ask(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Path((namespace, name, verb)): Path<(String, String, String)>,
) -> Result<Response, Refused> {
    let asked = Verb::from_word(&verb).ok_or(Refused::NotFound)?;
    let done = notebooks::ask(&page, &frame.visitor, asked, &namespace, &name).await?;
    let key = if done { format!("asked.{verb}") } else { "asked.slow".to_owned() };
    let said = frame.with(&key, "name", &name);
    Ok(Answer { frame: &frame, headers: &headers, said }.back("/"))
}

async fn restart_all(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Query(query): Query<Where>,
) -> Result<Response, Refused> {
    let chosen = Chosen::read(query.ns.as_deref());
    let board = page.board.borrow().clone();
    let all = notebooks::to_restart(&board, &frame.visitor.person, &chosen);
    let mut count = 0;
    for id in &all {
        match notebooks::restart(&page, &frame.visitor, id).await {
            Ok(()) => count += 1,
            // The rest can be asked for when these are done.
            Err(Refused::Asks) if count > 0 => break,
            Err(refused) => return Err(refused),
        }
    }
    let said = frame.with("asked.restart.all", "count", count);
    let back = query.ns.map_or_else(|| "/".to_owned(), |ns| format!("/?ns={}", answer::escaped(&ns)));
    Ok(Answer { frame: &frame, headers: &headers, said }.back(&back))
}
