//! What a pass does for one notebook: its Secret is written, and then its Pods are touched.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use fairlead_model::world::{Pod, Uid};
use fairlead_model::{Label, NotebookId, World, plan};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use super::{RETRY, State};
use crate::metrics::Outcome;
use crate::operator::Operator;
use crate::operator::deliver::{self, Delivered, Undelivered};
use crate::operator::held::{Held, Planned};
use crate::watch::chain;

/// At most this many requests at once.
const AT_ONCE: usize = 8;
/// At most this many notebooks are written in one pass: what changes meanwhile comes first in the next.
const BATCH: usize = 128;

/// What to do for one notebook.
pub(super) struct Job {
    pub(super) id: NotebookId,
    /// The Secret to write, and the version of it that these very bytes were last seen in.
    pub(super) write: Option<(Planned, Option<String>)>,
    /// The version in the cluster, where nothing is to be written.
    version: Option<String>,
    pods: Vec<Target>,
}

/// A Pod to touch, unless it was for the version that is there.
struct Target {
    name: String,
    uid: Uid,
    touched: Option<String>,
}

/// What came of a job.
struct Done {
    id: NotebookId,
    written: Option<(Planned, Result<Delivered, Undelivered>)>,
    /// The Pods that were touched, with the version, or with nothing where that failed.
    touched: Vec<(Uid, Option<String>)>,
}

impl State {
    /// What to do for the notebooks of `changed`, then for those that are due or wait, as many as a pass takes. A
    /// notebook for which there is nothing to write is a job too: what is wrong with it may be another thing now.
    pub(super) fn jobs(&mut self, operator: &Operator, world: &World, changed: &BTreeSet<Label>) -> Vec<Job> {
        let now = Instant::now();
        if self.retry <= now {
            self.waiting.append(&mut self.failed);
        }
        self.waiting.extend(self.held.iter().filter(|(_, held)| held.due <= now).map(|(id, _)| id.clone()));
        let mut writes = 0;
        let mut jobs = Vec::new();
        let mut look = |state: &mut Self, id: &NotebookId| {
            let job = state.job(operator, world, id, now);
            writes += job.iter().filter(|job| job.has_requests()).count();
            jobs.extend(job);
            writes < BATCH
        };
        let mut has_room = true;
        for id in changed.iter().flat_map(|namespace| world.notebooks_in(namespace)).map(|(id, _)| id) {
            if has_room {
                self.waiting.remove(id);
                has_room = look(self, id);
            } else {
                self.waiting.insert(id.clone());
            }
        }
        while has_room && let Some(id) = self.next_waiting() {
            has_room = look(self, &id);
        }
        jobs
    }

    /// The next that waits, round and round: what fails and comes back keeps nothing from its turn.
    fn next_waiting(&mut self) -> Option<NotebookId> {
        let after = self.turn.iter().flat_map(|turn| self.waiting.range((Excluded(turn), Unbounded))).next();
        let id = after.or_else(|| self.waiting.first())?.clone();
        self.waiting.remove(&id);
        self.turn = Some(id.clone());
        Some(id)
    }

    /// What to do for one notebook; nothing where it is not known yet what its Secret should be.
    fn job(&mut self, operator: &Operator, world: &World, id: &NotebookId, now: Instant) -> Option<Job> {
        let notebook = world.notebook(id)?;
        let due = self.held.get(id).is_none_or(|held| held.due <= now);
        if due {
            self.identities.forget(id);
        }
        let host = self.identities.of(&self.identity, &operator.suffix, id, &notebook.uid, (operator.now)());
        let planned = match host.map(|host| Planned::new(world, id, &host?)) {
            Ok(planned) => planned?,
            Err(error) => {
                tracing::error!("{error:#}");
                return None;
            }
        };
        let held = self.held.get(id).filter(|held| held.digest == planned.digest);
        let version = held.and_then(|held| held.version.clone());
        let known = self.pods.entry(id.clone()).or_default();
        let there: BTreeSet<&Uid> = world.pods_of(id).map(|(_, pod)| &pod.uid).collect();
        known.retain(|uid, _| there.contains(uid));
        let mounted = world.pods_of(id).filter(|(_, pod)| plan::is_mounted(id, pod));
        let target = |(name, pod): (&str, &Pod)| Target {
            name: name.to_owned(),
            uid: pod.uid.clone(),
            touched: known.get(&pod.uid).and_then(|known| known.touched.clone()),
        };
        let pods = mounted.map(target).collect();
        let write = (due || held.is_none()).then(|| (planned, version.clone()));
        Some(Job { id: id.clone(), write, version, pods })
    }

    pub(super) async fn deliver(&mut self, operator: &Operator, jobs: Vec<Job>) {
        let client = &operator.client;
        let (with, without): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(Job::has_requests);
        drop(without);
        let mut all = stream::iter(with).map(|job| job.carry_out(client)).buffer_unordered(AT_ONCE);
        while let Some(Done { id, written, touched }) = all.next().await {
            if let Some((planned, done)) = written {
                operator.metrics.secret_writes.get_or_create(&Outcome { outcome: deliver::outcome(&done) }).inc();
                self.keep(operator.resync, &id, planned, done);
            }
            for (uid, version) in touched {
                match version {
                    Some(_) => self.pods.entry(id.clone()).or_default().entry(uid).or_default().touched = version,
                    None => self.fail(&id),
                }
            }
        }
    }

    /// Remembers how a delivery went.
    pub(super) fn keep(
        &mut self,
        resync: Duration,
        id: &NotebookId,
        planned: Planned,
        done: Result<Delivered, Undelivered>,
    ) {
        if let Err(error) = &done {
            tracing::warn!(notebook = %id, error = chain(error), "no Secret");
        }
        let before = self.held.remove(id);
        self.host_keys.changed();
        self.held.insert(id.clone(), Held::after(before, planned, done, resync));
    }

    fn fail(&mut self, id: &NotebookId) {
        if self.failed.is_empty() {
            self.retry = Instant::now() + RETRY;
        }
        self.failed.insert(id.clone());
    }
}

impl Job {
    /// Whether the API server has to be asked for anything.
    fn has_requests(&self) -> bool {
        let is_untouched = |pod: &Target| self.version.is_some() && pod.touched != self.version;
        self.write.is_some() || self.pods.iter().any(is_untouched)
    }

    /// Writes the Secret and, once it is there, touches the Pods that have not been told of its version.
    async fn carry_out(self, client: &kube::Client) -> Done {
        let Self { id, write, mut version, pods } = self;
        let mut written = None;
        if let Some((planned, last)) = write {
            let done = deliver::deliver(client, &planned.secret, &planned.uid, last.as_deref()).await;
            version = done.as_ref().ok().map(|done| done.version.clone());
            written = Some((planned, done));
        }
        let mut touched = Vec::new();
        if let Some(version) = version {
            for pod in pods.into_iter().filter(|pod| pod.touched.as_ref() != Some(&version)) {
                let done = deliver::touch(client, id.namespace.as_str(), &pod.name, &version).await;
                if let Err(error) = &done {
                    tracing::warn!(notebook = %id, pod = pod.name, error = chain(error), "touching the Pod");
                }
                touched.push((pod.uid, done.is_ok().then(|| version.clone())));
            }
        }
        Done { id, written, touched }
    }
}
