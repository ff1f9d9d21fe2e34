//! A pass over the notebooks that something has changed for: what should be there is written, what is wrong is told.

mod jobs;
mod pods;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fairlead_model::world::Uid;
use fairlead_model::{Label, NotebookId, World};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::deliver::Delivered;
use super::found::Found;
use super::held::Held;
use super::host_keys::HostKeys;
use super::identities::Identities;
use super::probe::{self, Prober};
use super::teller::{self, Teller, Troubles};
use super::{Operator, print};
use crate::identity_store::Identity;
use pods::Known;

/// How long what failed waits, other than a Secret, which has a time of its own.
const RETRY: Duration = Duration::from_secs(2);

/// What the operator remembers from one pass to the next.
pub(super) struct State {
    /// The world of the last pass.
    seen: Arc<World>,
    /// Notebooks that a pass had no room for.
    waiting: BTreeSet<NotebookId>,
    /// Whose turn among those it was last.
    turn: Option<NotebookId>,
    /// Notebooks with something that failed, tried again from a moment on.
    failed: BTreeSet<NotebookId>,
    retry: Instant,
    /// CA and master secret that Secrets are planned with.
    identity: Arc<Identity>,
    held: BTreeMap<NotebookId, Held>,
    identities: Identities,
    pods: BTreeMap<NotebookId, BTreeMap<Uid, Known>>,
    prober: Prober,
    troubles: Troubles,
    found: Found,
    host_keys: HostKeys,
}

impl State {
    /// Nothing is written yet; where the Pods' greetings come out, and who says what is wrong.
    pub(super) fn new(operator: &Operator) -> (Self, mpsc::Receiver<probe::Found>, Teller) {
        let client = operator.client.clone();
        let (troubles, teller) = teller::new(client.clone(), operator.store.clone(), operator.now);
        let (prober, greetings) = Prober::new(client, operator.greeting_patience, operator.now);
        let state = Self {
            seen: Arc::default(),
            waiting: BTreeSet::new(),
            turn: None,
            failed: BTreeSet::new(),
            retry: Instant::now(),
            identity: operator.identity.borrow().clone(),
            held: BTreeMap::new(),
            identities: Identities::default(),
            pods: BTreeMap::new(),
            prober,
            troubles,
            found: Found::new(operator.store.clone(), operator.resync),
            host_keys: HostKeys::new(operator.store.clone()),
        };
        (state, greetings, teller)
    }

    /// Takes up a change of the CA or the master secret, whenever it came: every Secret is planned again.
    fn take_up_identity(&mut self, operator: &mut Operator) {
        let identity = operator.identity.borrow_and_update().clone();
        if !Arc::ptr_eq(&identity, &self.identity) {
            self.identity = identity;
            self.identities.clear();
            self.waiting.extend(self.seen.notebooks().map(|(id, _)| id.clone()));
        }
    }

    /// Brings the cluster to where the world says it should be; when to look again although nothing changes.
    pub(super) async fn pass(&mut self, operator: &mut Operator) -> Instant {
        let world = operator.worlds.borrow_and_update().clone();
        let mut changed = world.changed_since(&self.seen);
        self.forget_gone(&world, &changed);
        self.seen = world.clone();
        self.take_up_identity(operator);
        let dry_run = operator.dry_run.is_some();
        let noted = self.identities.note_readers(&operator.store, &world, &changed, dry_run, operator.resync).await;
        changed.extend(noted.raised);
        let jobs = self.jobs(operator, &world, &changed);
        let looked: Vec<NotebookId> = jobs.iter().map(|job| job.id.clone()).collect();
        let mut worked = noted.all;
        if let Some(output) = &mut operator.dry_run {
            for job in jobs {
                if let Some((planned, last)) = job.write {
                    if last.is_none() {
                        print(output, &planned.secret);
                    }
                    let pretended = Delivered { version: String::new(), restored: false, written: false };
                    self.keep(operator.resync, &job.id, planned, Ok(pretended));
                }
            }
        } else {
            self.deliver(operator, jobs).await;
            self.probe(&world, &looked);
            self.tell(&world, &looked);
            // A pass comes that nothing waits after.
            if self.waiting.is_empty() {
                worked &= self.host_keys.write(&world, &self.held, (operator.now)()).await;
                worked &= self.found.write((operator.now)()).await;
            }
        }
        self.next(Instant::now() + if worked { operator.resync } else { RETRY })
    }

    /// When something has to be done at the latest.
    fn next(&self, latest: Instant) -> Instant {
        if !self.waiting.is_empty() {
            return Instant::now();
        }
        let retry = if self.failed.is_empty() { latest } else { self.retry };
        self.held.values().map(|held| held.due).fold(latest.min(retry), Instant::min)
    }

    /// Forgets notebooks that are gone; one made again under its old name is another one.
    fn forget_gone(&mut self, world: &World, changed: &BTreeSet<Label>) {
        for (id, before) in changed.iter().flat_map(|namespace| self.seen.notebooks_in(namespace)) {
            let now = world.notebook(id);
            if now.is_some_and(|now| now.uid == before.uid) {
                continue;
            }
            self.held.remove(id);
            self.host_keys.changed();
            if now.is_none() {
                self.pods.remove(id);
                self.waiting.remove(id);
                self.failed.remove(id);
                self.identities.forget(id);
                self.troubles.put(id, &before.uid, BTreeSet::new());
                self.found.put(id, BTreeSet::new());
            }
        }
    }
}
