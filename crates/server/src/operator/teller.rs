//! Says what is wrong with notebooks, once: as an Event on the Notebook, in the log and in the audit trail. In a branch
//! of its own, since no key should wait for an Event.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;
use fairlead_model::world::Uid;
use fairlead_model::{NotebookId, Time};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::trouble::Trouble;
use crate::store::Store;
use crate::store::audit::AuditEvent;
use crate::watch::chain;

/// How long writing one Event may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Waits between tries of what failed: from this,
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// up to this.
const LAST_RETRY: Duration = Duration::from_mins(10);

/// A trouble of the Notebook with this UID.
type Cause = (Uid, Trouble);
/// All that is wrong with a notebook now.
type News = (NotebookId, BTreeSet<Cause>);

/// Where what is wrong goes in.
pub(super) struct Troubles {
    news: mpsc::UnboundedSender<News>,
    /// What was told last of notebooks with something wrong.
    last: BTreeMap<NotebookId, BTreeSet<Cause>>,
}

/// Says it, one thing after the other.
pub(super) struct Teller {
    recorder: Recorder,
    store: Store,
    now: fn() -> Time,
    news: mpsc::UnboundedReceiver<News>,
    known: BTreeMap<NotebookId, BTreeMap<Cause, Telling>>,
    /// What is still to be said, and when.
    queue: BTreeSet<(Instant, NotebookId, Cause)>,
}

/// How far the saying of one thing is.
#[derive(Debug, Clone, Copy)]
struct Telling {
    /// Whether the audit trail has it.
    noted: bool,
    /// Whether there is an Event of it.
    published: bool,
    failures: u32,
    /// When to say it, unless all is said.
    due: Option<Instant>,
}

/// Both ends.
pub(super) fn new(client: Client, store: Store, now: fn() -> Time) -> (Troubles, Teller) {
    let instance = Some(format!("fairlead-{}", std::process::id()));
    let recorder = Recorder::new(client, Reporter { controller: "fairlead.dev/operator".to_owned(), instance });
    let (sender, news) = mpsc::unbounded_channel();
    let teller = Teller { recorder, store, now, news, known: BTreeMap::new(), queue: BTreeSet::new() };
    (Troubles { news: sender, last: BTreeMap::new() }, teller)
}

impl Troubles {
    /// Makes `troubles` all there are of a notebook.
    pub(super) fn put(&mut self, id: &NotebookId, uid: &str, troubles: BTreeSet<Trouble>) {
        let causes: BTreeSet<Cause> = troubles.into_iter().map(|trouble| (uid.to_owned(), trouble)).collect();
        if self.last.get(id).map_or(causes.is_empty(), |last| *last == causes) {
            return;
        }
        if causes.is_empty() {
            self.last.remove(id);
        } else {
            self.last.insert(id.clone(), causes.clone());
        }
        // Whoever says it ends with whoever finds it.
        drop(self.news.send((id.clone(), causes)));
    }
}

impl Teller {
    /// Says what comes until nothing more can come.
    pub(super) async fn run(mut self) -> Result<()> {
        loop {
            let due = self.queue.first().map(|(due, ..)| *due);
            tokio::select! {
                biased;
                news = self.news.recv() => match news {
                    Some((id, causes)) => self.take(id, causes),
                    None => return Ok(()),
                },
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.say_next().await;
                }
            }
        }
    }

    /// Takes up what is wrong with a notebook now. What went away may come back and is said again then.
    fn take(&mut self, id: NotebookId, causes: BTreeSet<Cause>) {
        let mut known = self.known.remove(&id).unwrap_or_default();
        // That a Secret was changed has happened, also when it is as it should be again.
        known.retain(|cause, telling| {
            causes.contains(cause) || (matches!(cause.1, Trouble::SecretRestored(_)) && !telling.noted)
        });
        for cause in causes {
            known.entry(cause.clone()).or_insert_with(|| {
                let due = Instant::now();
                self.queue.insert((due, id.clone(), cause));
                Telling { noted: false, published: false, failures: 0, due: Some(due) }
            });
        }
        if !known.is_empty() {
            self.known.insert(id, known);
        }
    }

    /// Says what is due first, if it is still so.
    async fn say_next(&mut self) {
        let Some((due, id, cause)) = self.queue.pop_first() else { return };
        let telling = self.known.get(&id).and_then(|known| known.get(&cause)).filter(|it| it.due == Some(due));
        let Some(mut telling) = telling.copied() else { return };
        self.say(&id, &cause, &mut telling).await;
        telling.due = None;
        if !(telling.noted && telling.published) {
            let due = Instant::now() + LAST_RETRY.min(FIRST_RETRY * 2_u32.pow(telling.failures.min(9)));
            telling.failures += 1;
            telling.due = Some(due);
            self.queue.insert((due, id.clone(), cause.clone()));
        }
        self.known.entry(id).or_default().insert(cause, telling);
    }

    /// Says of one thing what is not said yet.
    async fn say(&self, id: &NotebookId, (uid, trouble): &Cause, telling: &mut Telling) {
        let (reason, note) = (trouble.reason(), trouble.note(id));
        let is_first = telling.failures == 0;
        if is_first {
            tracing::warn!(notebook = %id, reason, "{note}");
        }
        if !telling.noted {
            let event = AuditEvent {
                at: (self.now)(),
                event: "notebook-trouble".to_owned(),
                person: None,
                from: None,
                object: Some(id.to_string()),
                detail: Some(reason.to_owned()),
            };
            match self.store.audit(&event).await {
                Ok(()) => telling.noted = true,
                Err(error) if is_first => tracing::warn!(notebook = %id, "noting what is wrong: {error:#}"),
                Err(_) => {}
            }
        }
        if telling.published {
            return;
        }
        let regarding = ObjectReference {
            api_version: Some("kubeflow.org/v1".to_owned()),
            kind: Some("Notebook".to_owned()),
            name: Some(id.name.to_string()),
            namespace: Some(id.namespace.to_string()),
            uid: Some(uid.clone()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Deliver".to_owned(),
            secondary: None,
        };
        match tokio::time::timeout(PATIENCE, self.recorder.publish(&event, &regarding)).await {
            Ok(Ok(())) => telling.published = true,
            Ok(Err(error)) if is_first => {
                tracing::warn!(notebook = %id, error = chain(&error), "writing an Event; trying again");
            }
            Err(_) if is_first => tracing::warn!(notebook = %id, "no answer about an Event; trying again"),
            Ok(Err(_)) | Err(_) => {}
        }
    }
}
