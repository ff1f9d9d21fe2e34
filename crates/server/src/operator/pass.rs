//! One pass over all notebooks: what should be there is written, and what is wrong is said.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::identity::HostIdentity;
use fairlead_model::world::{self, Pod, Uid};
use fairlead_model::{NotebookId, Time, World, access, plan};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Secret;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::deliver::{self, Delivered, Undelivered};
use super::found::Found;
use super::host_keys::HostKeys;
use super::identities::Identities;
use super::probe::{self, Prober};
use super::trouble::{Teller, Trouble};
use super::{Operator, print};
use crate::metrics::Outcome;
use crate::watch::chain;

/// At most this many requests at once.
const AT_ONCE: usize = 8;
/// Waits between tries of what failed: from this,
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// up to this.
const LAST_RETRY: Duration = Duration::from_mins(1);
/// An earlier Notebook's Secret is said to be in the way after this many tries: mostly it goes in seconds.
const LEFTOVER_TRIES: u32 = 3;

/// One notebook's Secret, as it was last written or tried.
struct Held {
    uid: Uid,
    secret: Secret,
    /// The version in the cluster, once these bytes are there.
    version: Option<String>,
    trouble: Option<Trouble>,
    failures: u32,
    due: Instant,
}

/// What the operator remembers from one pass to the next.
pub(super) struct State {
    held: BTreeMap<NotebookId, Held>,
    identities: Identities,
    /// For which version of its Secret each Pod was touched.
    touched: BTreeMap<Uid, String>,
    /// The Pods that were or are dialled, and whether they greeted.
    greeted: BTreeMap<Uid, Option<bool>>,
    prober: Prober,
    teller: Teller,
    found: Found,
    host_keys: HostKeys,
}

/// A Secret to write.
struct Job {
    id: NotebookId,
    uid: Uid,
    secret: Secret,
    last: Option<String>,
}

impl State {
    /// Nothing is written yet; where the Pods' greetings come out.
    pub(super) fn new(operator: &Operator) -> (Self, mpsc::Receiver<probe::Found>) {
        let client = operator.client.clone();
        let (prober, greetings) = Prober::new(client.clone(), operator.greeting_patience, operator.now);
        let state = Self {
            held: BTreeMap::new(),
            identities: Identities::default(),
            touched: BTreeMap::new(),
            greeted: BTreeMap::new(),
            prober,
            teller: Teller::new(client, operator.store.clone()),
            found: Found::new(operator.store.clone(), operator.resync),
            host_keys: HostKeys::new(operator.store.clone()),
        };
        (state, greetings)
    }

    /// As after a change of the CA.
    pub(super) fn forget_identities(&mut self) {
        self.identities.clear();
    }

    /// Brings the cluster to where the world says it should be; when to look again although nothing changes.
    pub(super) async fn pass(&mut self, operator: &mut Operator) -> Instant {
        let world = operator.worlds.borrow_and_update().clone();
        self.forget_gone(&world);
        let dry_run = operator.dry_run.is_some();
        let noted = self.identities.note_readers(&operator.store, &world, dry_run, operator.resync).await;
        let jobs = self.jobs(operator, &world);
        let mut next = Instant::now() + if noted { operator.resync } else { FIRST_RETRY };
        if let Some(output) = &mut operator.dry_run {
            for job in jobs {
                if job.last.is_none() {
                    print(output, &job.secret);
                }
                let pretended = Delivered { version: String::new(), restored: false, written: false };
                self.keep(operator.resync, job, Ok(pretended));
            }
        } else {
            self.deliver(operator, jobs).await;
            let in_place = self.held.iter().filter(|(_, held)| held.version.is_some());
            if !self.host_keys.write(in_place.map(|(id, held)| (id, &held.secret))).await {
                next = next.min(Instant::now() + FIRST_RETRY);
            }
            if !self.touch(operator, &world).await {
                next = next.min(Instant::now() + FIRST_RETRY);
            }
            self.probe(&world);
            if !self.tell(&world, (operator.now)()).await {
                next = next.min(Instant::now() + FIRST_RETRY);
            }
        }
        self.held.values().map(|held| held.due).fold(next, Instant::min)
    }

    /// The Secrets that have changed or are due.
    fn jobs(&mut self, operator: &mut Operator, world: &World) -> Vec<Job> {
        let identity = operator.identity.borrow_and_update().clone();
        let now = Instant::now();
        let mut jobs = Vec::new();
        for (id, notebook) in world.notebooks() {
            let due = self.held.get(id).is_none_or(|held| held.due <= now);
            if due {
                self.identities.forget(id);
            }
            let host = self.identities.of(&identity, &operator.suffix, id, &notebook.uid, (operator.now)());
            let plan = |host: Option<HostIdentity>| plan::secret(world, id, &host?);
            let secret = match host.map(plan) {
                Ok(Some(secret)) => secret,
                Ok(None) => continue,
                Err(error) => {
                    tracing::error!("{error:#}");
                    continue;
                }
            };
            let held = self.held.get(id).filter(|held| held.secret == secret);
            if due || held.is_none() {
                let last = held.and_then(|held| held.version.clone());
                jobs.push(Job { id: id.clone(), uid: notebook.uid.clone(), secret, last });
            }
        }
        jobs
    }

    async fn deliver(&mut self, operator: &Operator, jobs: Vec<Job>) {
        let client = &operator.client;
        let requests = stream::iter(jobs).map(|job| async move {
            let done = deliver::deliver(client, &job.secret, &job.uid, job.last.as_deref()).await;
            (job, done)
        });
        let mut done = requests.buffer_unordered(AT_ONCE);
        while let Some((job, done)) = done.next().await {
            operator.metrics.secret_writes.get_or_create(&Outcome { outcome: deliver::outcome(&done) }).inc();
            self.keep(operator.resync, job, done);
        }
    }

    /// Remembers how a delivery went.
    fn keep(&mut self, resync: Duration, job: Job, done: Result<Delivered, Undelivered>) {
        let before = self.held.remove(&job.id);
        let mut held = Held {
            uid: job.uid,
            secret: job.secret,
            version: None,
            trouble: None,
            failures: 0,
            due: Instant::now() + resync,
        };
        match done {
            Ok(Delivered { version, restored, .. }) => {
                if before.is_none() {
                    // Spread over time by name, so that the next round does not come all at once.
                    held.due -= resync.mul_f64(spread(&held.uid) / 2.0);
                    tracing::debug!(notebook = %job.id, "its Secret is in place");
                }
                held.trouble = restored.then(|| Trouble::SecretRestored(version.clone()));
                held.version = Some(version);
            }
            Err(error) => {
                held.failures = before.map_or(1, |before| before.failures + 1);
                held.due = Instant::now() + LAST_RETRY.min(FIRST_RETRY * 2_u32.pow(held.failures.min(6) - 1));
                held.trouble = match &error {
                    Undelivered::Foreign => Some(Trouble::SecretTaken),
                    Undelivered::Leftover => (held.failures >= LEFTOVER_TRIES).then_some(Trouble::SecretLeftover),
                    Undelivered::Frozen(_) => Some(Trouble::SecretFrozen),
                    Undelivered::Request(_) | Undelivered::Silent => None,
                };
                tracing::warn!(notebook = %job.id, error = chain(&error), failures = held.failures, "no Secret");
            }
        }
        self.held.insert(job.id, held);
    }

    /// Touches the Pods that have not been told of the last version of their Secret; whether that worked for all.
    async fn touch(&mut self, operator: &Operator, world: &World) -> bool {
        let mut jobs = Vec::new();
        for (id, held) in &self.held {
            let Some(version) = &held.version else { continue };
            for (name, pod) in world.pods_of(id).filter(|(_, pod)| plan::is_mounted(id, pod)) {
                if self.touched.get(&pod.uid) != Some(version) {
                    jobs.push((id.namespace.to_string(), name.to_owned(), pod.uid.clone(), version.clone()));
                }
            }
        }
        let client = &operator.client;
        let requests = stream::iter(jobs).map(|(namespace, name, uid, version)| async move {
            let done = deliver::touch(client, &namespace, &name, &version).await;
            if let Err(error) = &done {
                tracing::warn!(namespace, pod = name, error = chain(error), "touching the Pod");
            }
            (uid, version, done.is_ok())
        });
        let mut done = requests.buffer_unordered(AT_ONCE);
        let mut all = true;
        while let Some((uid, version, worked)) = done.next().await {
            all &= worked;
            if worked {
                self.touched.insert(uid, version);
            }
        }
        all
    }

    /// Dials Pods that are new.
    fn probe(&mut self, world: &World) {
        for (id, _) in world.notebooks() {
            let Some(candidate) = probe::candidate(world, id) else { continue };
            let mounted = world.pods_of(id).all(|(_, pod)| plan::is_mounted(id, pod));
            if mounted && !self.greeted.contains_key(&candidate.uid) {
                self.greeted.insert(candidate.uid.clone(), None);
                self.prober.start(id, candidate);
            }
        }
    }

    pub(super) async fn take_found(&mut self, found: &mut mpsc::Receiver<probe::Found>) {
        match found.recv().await {
            Some((uid, greeted)) => drop(self.greeted.insert(uid, Some(greeted))),
            None => std::future::pending().await,
        }
    }

    /// Says what is wrong with each notebook, and writes down what its objects do not show; whether that worked.
    async fn tell(&mut self, world: &World, now: Time) -> bool {
        let mut found = BTreeMap::new();
        for (id, notebook) in world.notebooks() {
            let mut troubles: BTreeSet<Trouble> =
                self.held.get(id).and_then(|held| held.trouble.clone()).into_iter().collect();
            if access::enabled(world, id).is_ok() && !notebook.stopped {
                let pods: Vec<&Pod> = world.pods_of(id).map(|(_, pod)| pod).collect();
                troubles.extend((pods.len() > 1).then_some(Trouble::Ambiguous));
                for pod in pods {
                    if !plan::is_mounted(id, pod) {
                        troubles.insert(Trouble::NotMounted(pod.uid.clone()));
                    } else if self.greeted.get(&pod.uid) == Some(&Some(false)) {
                        troubles.insert(Trouble::NoSshd(pod.uid.clone()));
                    }
                }
            }
            let mut shown: BTreeSet<_> = troubles.iter().filter_map(Trouble::found).collect();
            // What was found before this process began stays until it has looked for itself.
            shown.extend(world.troubles(id).filter(|it| *it == world::Trouble::NoSshd && self.is_probing(world, id)));
            if !shown.is_empty() {
                found.insert(id.clone(), shown);
            }
            self.teller.tell(id, &notebook.uid, troubles, now).await;
        }
        self.found.write(found, now).await
    }

    /// Whether a Pod of a notebook is being dialled and nothing is known of it yet.
    fn is_probing(&self, world: &World, id: &NotebookId) -> bool {
        world.pods_of(id).any(|(_, pod)| self.greeted.get(&pod.uid) == Some(&None))
    }

    /// Forgets notebooks and Pods that are gone; a Notebook made again under its old name is another one.
    fn forget_gone(&mut self, world: &World) {
        self.held.retain(|id, held| world.notebook(id).is_some_and(|notebook| notebook.uid == held.uid));
        self.teller.retain(|id| world.notebook(id).is_some());
        let pods: BTreeSet<&str> =
            world.notebooks().flat_map(|(id, _)| world.pods_of(id)).map(|(_, pod)| pod.uid.as_str()).collect();
        self.touched.retain(|uid, _| pods.contains(uid.as_str()));
        self.greeted.retain(|uid, _| pods.contains(uid.as_str()));
    }
}

/// A number from 0 to 1 that differs by UID.
fn spread(uid: &str) -> f64 {
    let sum = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(sum) / f64::from(u32::MAX)
}
