//! What people asked for on the page: notebooks are started and stopped here, as Kubeflow's own web app does it. A row
//! says who asks and proves nothing, so whether they may is decided again, by this process's own world.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::read::STOPPED;
use fairlead_model::world::Notebook;
use fairlead_model::{NotebookId, Time, World, access};
use futures::future::{BoxFuture, OptionFuture};
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::cluster::{NOTEBOOK, served};
use crate::ledger::Worlds;
use crate::store::asks::{Ask, AskKind};
use crate::store::audit::AuditEvent;
use crate::store::{Store, Topic};
use crate::watch::chain;
use crate::{clock, recorder};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the world may take to show what was written.
const ARRIVAL: Duration = Duration::from_secs(3);
/// How often the rows are looked at although nobody says that they changed: then old asks expire.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// Changes that come close together are looked at together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How many notebooks are started and stopped at once.
const AT_ONCE: usize = 8;
/// The longest error that people see, in characters.
const MAX_ERROR: usize = 200;

/// Carries out what people ask for.
pub(super) struct Asks {
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) worlds: Worlds,
    pub(super) now: fn() -> Time,
}

impl Asks {
    /// Works until the ledger ends.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut asked = self.store.changes(Topic::Asks);
        let mut failing = false;
        loop {
            asked.mark_unchanged();
            self.worlds.mark_unchanged();
            let waits = match self.answer_all().await {
                Ok(waits) => waits,
                Err(error) => {
                    if !failing {
                        tracing::warn!("looking for what people asked for: {error:#}");
                    }
                    failing = true;
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            };
            failing = false;
            let world = OptionFuture::from(waits.then(|| self.worlds.changed()));
            tokio::select! {
                changed = asked.changed() => changed.context("watching for what people ask for")?,
                Some(changed) = world => {
                    changed.context("following the world")?;
                    sleep(DEBOUNCE).await;
                }
                () = sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// Answers what can be answered now; whether something has to wait.
    async fn answer_all(&self) -> Result<bool> {
        loop {
            let open = self.store.open_asks((self.now)()).await?;
            let world = self.worlds.borrow().clone();
            let next = next(&world, &open);
            if next.is_empty() {
                return Ok(!open.is_empty());
            }
            // Of one notebook one at a time, each by the rows and the world as they are then: a stop that was asked for
            // before a start must not come after it. A notebook keeps no other waiting.
            let mut answers: Vec<BoxFuture<'_, Result<()>>> = Vec::new();
            for (ask, step) in next {
                answers.push(self.take(&world, ask, step).boxed());
            }
            let answered: Vec<Result<()>> = stream::iter(answers).buffer_unordered(AT_ONCE).collect().await;
            answered.into_iter().collect::<Result<()>>()?;
        }
    }

    async fn take(&self, world: &World, ask: &Ask, step: Step) -> Result<()> {
        let outcome = match step {
            Step::CarryOut => self.carry_out(world, ask).await,
            Step::Supersede => Outcome::Superseded,
        };
        self.answer(ask, &outcome).await
    }

    async fn carry_out(&self, world: &World, ask: &Ask) -> Outcome {
        let id = &ask.notebook;
        let notebook = match access::may_operate(world, &ask.person, id) {
            Ok(()) => world.notebook(id),
            Err(denied) => return Outcome::Denied(denied.word()),
        };
        let Some(notebook) = notebook else { return Outcome::Denied("no-notebook") };
        let patching = timeout(PATIENCE, patch(&self.client, id, notebook, ask.kind, (self.now)())).await;
        match patching {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Outcome::Failed(chain(&*error)),
            Err(_) => return Outcome::Failed("no answer from the API server".to_owned()),
        }
        // What is asked for next is decided by a world that shows it.
        let stops = ask.kind == AskKind::Stop;
        let shown = |world: &Arc<World>| world.notebook(id).is_none_or(|notebook| notebook.stopped == stops);
        let mut worlds = self.worlds.clone();
        let _ = timeout(ARRIVAL, worlds.wait_for(shown)).await;
        Outcome::Done
    }

    /// Writes the answer, and who did what, once.
    async fn answer(&self, ask: &Ask, outcome: &Outcome) -> Result<()> {
        let at = (self.now)();
        if !self.store.answer(&ask.id, &outcome.text(), at).await? {
            return Ok(());
        }
        let (event, detail) = match (outcome, ask.kind) {
            (Outcome::Done, AskKind::Start) => ("notebook-started", None),
            (Outcome::Done, AskKind::Stop) => ("notebook-stopped", None),
            (Outcome::Denied(word), kind) => ("ask-refused", Some(format!("{}: {word}", kind.word()))),
            (Outcome::Superseded, _) => return Ok(()),
            (Outcome::Failed(why), kind) => {
                tracing::warn!(notebook = %ask.notebook, kind = kind.word(), error = why, "carrying out what was asked");
                return Ok(());
            }
        };
        let event = AuditEvent {
            at,
            event: event.to_owned(),
            person: Some(ask.person.to_string()),
            from: None,
            object: Some(ask.notebook.to_string()),
            detail,
        };
        recorder::log(&event);
        self.store.audit(&event).await
    }
}

/// How an ask ended.
enum Outcome {
    Done,
    Denied(&'static str),
    Superseded,
    Failed(String),
}

/// What to do about an ask.
#[derive(Clone, Copy)]
enum Step {
    CarryOut,
    /// A stop was asked for while it waited.
    Supersede,
}

impl Outcome {
    /// For the person who asked.
    fn text(&self) -> String {
        match self {
            Self::Done => "done".to_owned(),
            Self::Denied(word) => format!("denied: {word}"),
            Self::Superseded => "superseded".to_owned(),
            Self::Failed(why) => {
                let why: String = why.chars().filter(|c| !c.is_control()).take(MAX_ERROR).collect();
                format!("error: {why}")
            }
        }
    }
}

/// What comes next: of each notebook the oldest, unless it has to wait. `open` is in order of time.
fn next<'a>(world: &World, open: &'a [Ask]) -> Vec<(&'a Ask, Step)> {
    let mut seen = BTreeSet::new();
    let oldest = open.iter().filter(|ask| seen.insert(&ask.notebook));
    let step = |ask: &'a Ask| {
        if !has_to_wait(world, ask) {
            return Some((ask, Step::CarryOut));
        }
        let is_later_stop = |other: &Ask| other.notebook == ask.notebook && other.kind == AskKind::Stop;
        open.iter().any(is_later_stop).then_some((ask, Step::Supersede))
    };
    oldest.filter_map(step).collect()
}

/// Whether a start has to wait for the Pod of before to go: Kubeflow's controller would see a notebook that was never
/// stopped, and leave the Pod as it is.
fn has_to_wait(world: &World, ask: &Ask) -> bool {
    let stopped = world.notebook(&ask.notebook).is_some_and(|notebook| notebook.stopped);
    let may = access::may_operate(world, &ask.person, &ask.notebook).is_ok();
    ask.kind == AskKind::Start && may && stopped && world.pods_of(&ask.notebook).next().is_some()
}

/// Sets Kubeflow's annotation, or takes it away. Of this very Notebook: one of the same name that was made since is
/// refused by its UID.
async fn patch(client: &Client, id: &NotebookId, notebook: &Notebook, kind: AskKind, now: Time) -> Result<()> {
    let resource = served(client, NOTEBOOK).await.context("looking for the kind Notebook")?;
    let resource = resource.context("the cluster has no kind Notebook")?;
    let notebooks: Api<DynamicObject> = Api::namespaced_with(client.clone(), id.namespace.as_str(), &resource);
    let stopped = match kind {
        AskKind::Start => Value::Null,
        AskKind::Stop => clock::text(now).into(),
    };
    let patch = json!({"metadata": {"uid": notebook.uid, "annotations": {STOPPED: stopped}}});
    let patched = notebooks.patch(id.name.as_str(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).context("changing the Notebook")
}
