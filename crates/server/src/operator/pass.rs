//! A pass over the notebooks that something has changed for: what should be there is written, and what is wrong is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fairlead_model::world::{self, Pod, Uid};
use fairlead_model::{Label, NotebookId, Time, World, access, plan};
use futures::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::deliver::{self, Delivered, Undelivered};
use super::found::Found;
use super::held::{Held, Planned};
use super::host_keys::HostKeys;
use super::identities::Identities;
use super::probe::{self, Prober};
use super::trouble::{Teller, Trouble};
use super::{Operator, print};
use crate::metrics::Outcome;
use crate::watch::chain;

/// At most this many requests at once.
const AT_ONCE: usize = 8;
/// At most this many notebooks are written in one pass: what changes meanwhile comes first in the next.
const BATCH: usize = 128;
/// At most so many notebooks are looked at for something to say in one pass, since each takes a request and a row.
const SAID: usize = 32;
/// How long what failed waits, other than a Secret, which has a time of its own.
const RETRY: Duration = Duration::from_secs(2);

/// What the operator remembers from one pass to the next.
pub(super) struct State {
    /// The world of the last pass.
    seen: Arc<World>,
    /// Notebooks that a pass had no room for.
    waiting: BTreeSet<NotebookId>,
    /// Notebooks with something that failed, tried again from a moment on.
    failed: BTreeSet<NotebookId>,
    /// Notebooks that something may be new to say of, which comes after all writing.
    untold: BTreeSet<NotebookId>,
    retry: Instant,
    held: BTreeMap<NotebookId, Held>,
    identities: Identities,
    pods: BTreeMap<NotebookId, BTreeMap<Uid, Known>>,
    prober: Prober,
    teller: Teller,
    found: Found,
    host_keys: HostKeys,
}

/// What is known of a Pod.
#[derive(Default)]
struct Known {
    /// For which version of its Secret it was touched.
    touched: Option<String>,
    sshd: Sshd,
}

/// What is known of a Pod's sshd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sshd {
    /// It was not dialled.
    #[default]
    Unknown,
    /// It is dialled.
    Dialled,
    /// It greeted.
    Greeted,
    /// It is still dialled, and has been long enough to say that there is none.
    Missing,
}

/// What to do for one notebook.
struct Job {
    id: NotebookId,
    /// The Secret to write, and the version of it that these very bytes were last seen in.
    write: Option<(Planned, Option<String>)>,
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
    /// Nothing is written yet; where the Pods' greetings come out.
    pub(super) fn new(operator: &Operator) -> (Self, mpsc::Receiver<probe::Found>) {
        let client = operator.client.clone();
        let (prober, greetings) = Prober::new(client.clone(), operator.greeting_patience, operator.now);
        let state = Self {
            seen: Arc::default(),
            waiting: BTreeSet::new(),
            failed: BTreeSet::new(),
            untold: BTreeSet::new(),
            retry: Instant::now(),
            held: BTreeMap::new(),
            identities: Identities::default(),
            pods: BTreeMap::new(),
            prober,
            teller: Teller::new(client, operator.store.clone()),
            found: Found::new(operator.store.clone(), operator.resync),
            host_keys: HostKeys::new(operator.store.clone()),
        };
        (state, greetings)
    }

    /// As after a change of the CA: every Secret is planned again.
    pub(super) fn forget_identities(&mut self) {
        self.identities.clear();
        self.waiting.extend(self.seen.notebooks().map(|(id, _)| id.clone()));
    }

    /// Brings the cluster to where the world says it should be; when to look again although nothing changes.
    pub(super) async fn pass(&mut self, operator: &mut Operator) -> Instant {
        let world = operator.worlds.borrow_and_update().clone();
        let mut changed = world.changed_since(&self.seen);
        self.forget_gone(&world, &changed);
        self.seen = world.clone();
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
            self.untold.extend(looked);
            // A pass comes that nothing waits after.
            if self.waiting.is_empty() {
                worked &= self.host_keys.write(&world, &self.held, (operator.now)()).await;
                self.tell(&world, (operator.now)()).await;
            }
            if self.waiting.is_empty() && self.untold.is_empty() {
                worked &= self.found.write((operator.now)()).await;
            }
        }
        self.next(Instant::now() + if worked { operator.resync } else { RETRY })
    }

    /// When something has to be done at the latest.
    fn next(&self, latest: Instant) -> Instant {
        if !self.waiting.is_empty() || !self.untold.is_empty() {
            return Instant::now();
        }
        let retry = if self.failed.is_empty() { latest } else { self.retry };
        self.held.values().map(|held| held.due).fold(latest.min(retry), Instant::min)
    }

    /// What to do for the notebooks of `changed`, then for those that are due or wait, as many as a pass takes. A
    /// notebook for which there is nothing to write is a job too: what is wrong with it may be another thing now.
    fn jobs(&mut self, operator: &mut Operator, world: &World, changed: &BTreeSet<Label>) -> Vec<Job> {
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
        while has_room && let Some(id) = self.waiting.pop_first() {
            has_room = look(self, &id);
        }
        jobs
    }

    /// What to do for one notebook; nothing where it is not known yet what its Secret should be.
    fn job(&mut self, operator: &mut Operator, world: &World, id: &NotebookId, now: Instant) -> Option<Job> {
        let notebook = world.notebook(id)?;
        let due = self.held.get(id).is_none_or(|held| held.due <= now);
        if due {
            self.identities.forget(id);
        }
        let identity = operator.identity.borrow_and_update().clone();
        let host = self.identities.of(&identity, &operator.suffix, id, &notebook.uid, (operator.now)());
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

    async fn deliver(&mut self, operator: &Operator, jobs: Vec<Job>) {
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
    fn keep(&mut self, resync: Duration, id: &NotebookId, planned: Planned, done: Result<Delivered, Undelivered>) {
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

    /// Dials Pods that are new.
    fn probe(&mut self, world: &World, looked: &[NotebookId]) {
        for id in looked {
            let Some(candidate) = probe::candidate(world, id) else { continue };
            let mounted = world.pods_of(id).all(|(_, pod)| plan::is_mounted(id, pod));
            let pods = self.pods.entry(id.clone()).or_default();
            let known = pods.entry(candidate.uid.clone()).or_default();
            if mounted && known.sshd == Sshd::Unknown {
                known.sshd = Sshd::Dialled;
                self.prober.start(id, candidate);
            }
        }
    }

    /// Takes up what was found by dialling, and whatever else has been found meanwhile.
    pub(super) async fn take_found(&mut self, found: &mut mpsc::Receiver<probe::Found>) {
        let mut next = found.recv().await;
        if next.is_none() {
            std::future::pending::<()>().await;
        }
        while let Some((id, uid, greeted)) = next {
            if let Some(known) = self.pods.get_mut(&id).and_then(|pods| pods.get_mut(&uid)) {
                known.sshd = if greeted { Sshd::Greeted } else { Sshd::Missing };
                self.waiting.insert(id);
            }
            next = found.try_recv().ok();
        }
    }

    /// Says what is wrong with each notebook, and notes what its objects do not show.
    async fn tell(&mut self, world: &World, now: Time) {
        for _ in 0..SAID {
            let Some(id) = &self.untold.pop_first() else { return };
            let Some(notebook) = world.notebook(id) else { continue };
            let mut troubles: BTreeSet<Trouble> =
                self.held.get(id).and_then(|held| held.trouble.clone()).into_iter().collect();
            if access::enabled(world, id).is_ok() && !notebook.stopped {
                let pods: Vec<&Pod> = world.pods_of(id).map(|(_, pod)| pod).collect();
                troubles.extend((pods.len() > 1).then_some(Trouble::Ambiguous));
                for pod in pods {
                    if !plan::is_mounted(id, pod) {
                        troubles.insert(Trouble::NotMounted(pod.uid.clone()));
                    } else if self.sshd(id, pod) == Sshd::Missing {
                        troubles.insert(Trouble::NoSshd(pod.uid.clone()));
                    }
                }
            }
            let mut shown: BTreeSet<_> = troubles.iter().filter_map(Trouble::found).collect();
            // What was found before this process began stays until it has looked for itself.
            let is_probing = world.pods_of(id).any(|(_, pod)| self.sshd(id, pod) == Sshd::Dialled);
            shown.extend(world.troubles(id).filter(|it| *it == world::Trouble::NoSshd && is_probing));
            self.found.put(id, shown);
            if !self.teller.tell(id, &notebook.uid, troubles, now).await {
                self.fail(id);
            }
        }
    }

    fn sshd(&self, id: &NotebookId, pod: &Pod) -> Sshd {
        self.pods.get(id).and_then(|pods| pods.get(&pod.uid)).map_or(Sshd::Unknown, |known| known.sshd)
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
                self.teller.forget(id);
                self.found.put(id, BTreeSet::new());
            }
        }
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
