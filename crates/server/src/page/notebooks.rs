//! Notebooks: what a visitor sees of them, and what they may ask for.

use std::time::Duration;

use fairlead_model::state::State;
use fairlead_model::{Denied, Label, NotebookId, Person, PublicKey, Role, Time, access};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::board::{Board, Row};
use super::editors::{Editor, editors};
use super::plain::plain;
use super::{Page, Refused, Visitor};
use crate::clock::now;
use crate::store::asks::AskKind;

/// How long a visitor waits for the operator to do what they asked for.
const PATIENCE: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// A notebook as its page and JSON show it. Times are Unix milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NotebookView {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) host: String,
    /// What the visitor is in the profile: owner, admin, edit, view.
    pub(super) role: &'static str,
    pub(super) state: &'static str,
    pub(super) image: String,
    pub(super) cpu: String,
    pub(super) memory: String,
    pub(super) gpus: u32,
    pub(super) created_ms: Option<i64>,
    pub(super) last_session_ms: Option<i64>,
    pub(super) live_sessions: usize,
    /// Whether the visitor may connect, start and stop.
    pub(super) may_connect: bool,
    /// Empty for who may not connect.
    pub(super) editors: Vec<Editor>,
    /// Only where the visitor may connect.
    pub(super) pod_ip: Option<String>,
}

impl NotebookView {
    pub(super) fn new(id: &NotebookId, role: Role, row: &Row) -> Self {
        let may_connect = role.opens_shells();
        Self {
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
            host: row.host.clone(),
            role: role.word(),
            state: row.state.word(),
            image: plain(&row.shown.image),
            cpu: plain(&row.shown.cpu),
            memory: plain(&row.shown.memory),
            gpus: row.shown.gpus,
            created_ms: (row.shown.created.0 > 0).then_some(row.shown.created.0),
            last_session_ms: row.last.map(|time| time.0),
            live_sessions: row.live,
            may_connect,
            editors: if may_connect { editors(&row.host) } else { Vec::new() },
            pod_ip: row.ip.filter(|_| may_connect).map(|ip| ip.to_string()),
        }
    }
}

/// The namespace of a query, or all: what is no label is nobody's namespace, so it shows nothing.
pub(super) enum Chosen {
    All,
    One(Label),
    Nothing,
}

impl Chosen {
    pub(super) fn read(text: Option<&str>) -> Self {
        match text.filter(|text| !text.is_empty()) {
            None => Self::All,
            Some(text) => Label::parse(text).map_or(Self::Nothing, Self::One),
        }
    }

    /// What of a board a person sees of it.
    pub(super) fn of<'a>(
        &'a self,
        board: &'a Board,
        person: &'a Person,
    ) -> impl Iterator<Item = (&'a NotebookId, Role, u64, &'a Row)> {
        let (nothing, namespace) = match self {
            Self::All => (false, None),
            Self::One(namespace) => (false, Some(namespace)),
            Self::Nothing => (true, None),
        };
        board.of(person, namespace).filter(move |_| !nothing)
    }
}

/// A visitor's notebooks, in order of namespace and name.
pub(super) fn list(board: &Board, person: &Person, chosen: &Chosen) -> Vec<NotebookView> {
    chosen.of(board, person).map(|(id, role, _, row)| NotebookView::new(id, role, row)).collect()
}

/// One notebook of the visitor's.
pub(super) fn one(board: &Board, person: &Person, namespace: &str, name: &str) -> Result<NotebookView, Refused> {
    let id = NotebookId::parse(namespace, name).map_err(|_| Refused::NotFound)?;
    let role = board.world.role(person, &id.namespace).ok_or(Refused::NotFound)?;
    let (_, row) = board.rows.get(&id).ok_or(Refused::NotFound)?;
    Ok(NotebookView::new(&id, role, row))
}

/// How many notebooks of the visitor's need a restart, which the visitor may do.
pub(super) fn to_restart(board: &Board, person: &Person, chosen: &Chosen) -> Vec<NotebookId> {
    let needs = |(id, role, _, row): (&NotebookId, Role, u64, &Row)| {
        (row.state == State::NeedsRestart && role.opens_shells()).then(|| id.clone())
    };
    chosen.of(board, person).filter_map(needs).collect()
}

/// What a visitor may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

impl Verb {
    /// By its word.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "start" => Some(Self::Start),
            "stop" => Some(Self::Stop),
            "restart" => Some(Self::Restart),
            _ => None,
        }
    }
}

/// Asks the operator, and waits a moment until it has done it; whether it has.
pub(super) async fn ask(
    page: &Page,
    visitor: &Visitor,
    verb: Verb,
    namespace: &str,
    name: &str,
) -> Result<bool, Refused> {
    let id = NotebookId::parse(namespace, name).map_err(|_| Refused::NotFound)?;
    may_ask(page, visitor, &id)?;
    let kind = match verb {
        Verb::Start => AskKind::Start,
        Verb::Stop => AskKind::Stop,
        // The start waits for its Pod to go, and nobody here for that.
        Verb::Restart => return restart(page, visitor, &id).await.map(|()| true),
    };
    let mut asked = page.store.ask(kind, &id, &visitor.person, now()).await?;
    let mut is_again = false;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let outcome = page.store.ask_outcome(&asked).await?.flatten();
        match outcome.as_deref().map(Outcome::read) {
            Some(Outcome::Done) => return Ok(true),
            Some(Outcome::Denied(refused)) => {
                may_ask(page, visitor, &id)?;
                // It was another's, who may no more; or the operator's world is another one than this.
                if is_again {
                    return Err(refused);
                }
                is_again = true;
                asked = page.store.ask(kind, &id, &visitor.person, now()).await?;
            }
            Some(Outcome::Over) => return Ok(false),
            Some(Outcome::Failed) => {
                let outcome = outcome.unwrap_or_default();
                return Err(Refused::Broken(anyhow::anyhow!("the operator says: {outcome}")));
            }
            None => sleep(LOOK).await,
        }
    }
    Ok(false)
}

/// Whether a visitor may start and stop a notebook.
fn may_ask(page: &Page, visitor: &Visitor, id: &NotebookId) -> Result<(), Refused> {
    let world = page.worlds.borrow().clone();
    access::may_operate(&world, &visitor.person, id).map_err(refused)
}

/// Who has no role there is not told what there is.
fn refused(denied: Denied) -> Refused {
    match denied {
        Denied::Stranger | Denied::NoNotebook => Refused::NotFound,
        other => Refused::Denied(other),
    }
}

/// What the operator says.
enum Outcome {
    Done,
    Denied(Refused),
    /// Nobody was there in time, or somebody asked for the opposite.
    Over,
    Failed,
}

impl Outcome {
    fn read(text: &str) -> Self {
        match text.strip_prefix("denied: ") {
            Some("viewer") => Self::Denied(refused(Denied::Viewer)),
            Some(_) => Self::Denied(Refused::NotFound),
            None if text == "done" => Self::Done,
            None if matches!(text, "expired" | "superseded") => Self::Over,
            None => Self::Failed,
        }
    }
}

/// Asks for a stop and for a start after it. The operator decides again whether the visitor may.
pub(super) async fn restart(page: &Page, visitor: &Visitor, id: &NotebookId) -> Result<(), Refused> {
    let at = now();
    page.store.ask(AskKind::Stop, id, &visitor.person, at).await?;
    page.store.ask(AskKind::Start, id, &visitor.person, Time(at.0 + 1)).await?;
    Ok(())
}

/// The host key that a notebook's sshd shows, once the operator has said it.
pub(super) async fn host_key(page: &Page, namespace: &str, name: &str) -> Result<Option<PublicKey>, Refused> {
    let id = NotebookId::parse(namespace, name).map_err(|_| Refused::NotFound)?;
    Ok(page.store.host_key(&id).await?)
}
