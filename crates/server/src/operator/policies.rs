//! Keeps the policies of mesh and network as the plan says, and leaves alone what somebody else made.

mod held;
mod kinds;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::plan::mesh::{self, Plan, Planned, Settings};
use fairlead_model::world::{MeshKind, Ours};
use fairlead_model::{Label, World};
use futures::{StreamExt, stream};
use kube::Client;
use tokio::time::Instant;

use super::held::spread;
use super::print_value;
use crate::ledger::Worlds;
use held::Held;
use kinds::Kinds;
use request::Job;

/// Changes that come close together are written together: a rollout changes each gateway's address.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// Between two plans: what is written comes back by the watch, in many small changes.
const PAUSE: Duration = Duration::from_secs(1);
/// At most this many requests at once.
const AT_ONCE: usize = 8;
/// Before the next try of what failed once.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// A dry run prints each policy once.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// What the operator does about policies.
#[derive(Default)]
pub struct Policies {
    /// What the admin set.
    pub settings: Settings,
    /// Where to print what would be written, instead of writing it.
    pub dry_run: Option<Box<dyn Write + Send + Sync>>,
}

type Key = (MeshKind, Label, String);

pub(super) struct Keeper {
    client: Client,
    worlds: Worlds,
    resync: Duration,
    held: BTreeMap<Key, Held>,
    /// What was said, so that it is said once.
    said: BTreeSet<(Key, String)>,
    kinds: Kinds,
    /// Deletions that failed are tried again, although nothing changes.
    again: Option<Instant>,
}

impl Keeper {
    pub(super) fn new(client: &Client, worlds: &Worlds, resync: Duration) -> Self {
        Self {
            client: client.clone(),
            worlds: worlds.clone(),
            resync,
            held: BTreeMap::new(),
            said: BTreeSet::new(),
            kinds: Kinds::new(client, resync),
            again: None,
        }
    }

    /// Works until the ledger ends.
    pub(super) async fn run(mut self, mut policies: Policies) -> Result<()> {
        loop {
            let world = self.worlds.borrow_and_update().clone();
            let begin = Instant::now();
            self.again = None;
            self.kinds.begin_pass();
            let mut settings = policies.settings.clone();
            let end_port = if settings.network_policies { self.kinds.knows_end_port().await } else { Some(false) };
            settings.network_policies = end_port == Some(true);
            if end_port.is_none() {
                self.again = Some(begin + FIRST_RETRY);
            }
            self.pass(&world, &settings, end_port.is_some(), &mut policies.dry_run).await;
            let next = self.held.values().map(|held| held.due).chain(self.again).min();
            // What is due and could not even be tried must not be tried without a pause.
            let next = next.unwrap_or_else(|| Instant::now() + self.resync).max(Instant::now() + FIRST_RETRY);
            tokio::select! {
                changed = self.differs(&world) => {
                    changed?;
                    tokio::time::sleep_until((begin + PAUSE).max(Instant::now() + DEBOUNCE)).await;
                }
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Waits for a change of what policies come from.
    async fn differs(&mut self, planned: &World) -> Result<()> {
        loop {
            self.worlds.changed().await.context("following the world")?;
            if self.worlds.borrow_and_update().asks_for_other_policies(planned) {
                return Ok(());
            }
        }
    }

    async fn pass(
        &mut self,
        world: &World,
        settings: &Settings,
        networks: bool,
        dry_run: &mut Option<Box<dyn Write + Send + Sync>>,
    ) {
        let is_known = |kind| (kind != MeshKind::Network || networks) && mesh::is_known(world, settings, kind);
        let plan = mesh::plan(world, settings);
        self.held.retain(|key, _| plan.policies.contains_key(key));
        let said = self.sayings(world, &plan);
        let mut jobs = Vec::new();
        for (key, planned) in plan.policies.iter().filter(|((kind, ..), _)| is_known(*kind)) {
            let there = world.mesh().policy(key.0, &key.1, &key.2);
            let over = there.and_then(|policy| policy.ours.clone());
            if there.is_some() && over.is_none() {
                self.held.remove(key);
            } else if self.is_wanting(key, planned, over.as_ref()) {
                jobs.push(Job { planned: planned.clone(), over });
            }
        }
        let gone = world.mesh().ours().filter(|(kind, space, name, _)| {
            is_known(*kind) && !plan.policies.contains_key(&(*kind, (*space).clone(), (*name).to_owned()))
        });
        let gone: Vec<(Key, Ours)> =
            gone.map(|(kind, space, name, ours)| ((kind, space.clone(), name.to_owned()), ours.clone())).collect();
        self.said = said;
        if let Some(output) = dry_run {
            for job in jobs {
                self.pretend(output, job);
            }
            return;
        }
        // What is too much first: a policy that reopens what another closed must not wait.
        self.remove(gone).await;
        self.write(jobs).await;
    }

    /// Whether a policy has to be written now.
    fn is_wanting(&mut self, key: &Key, planned: &Planned, ours: Option<&Ours>) -> bool {
        let (content, rest) = (planned.content(), self.rest(key));
        let version = ours.map(|ours| ours.version.clone());
        let right = ours.is_some_and(|ours| ours.content == content);
        if let Some(held) = self.held.get_mut(key).filter(|held| held.content == content) {
            return held.is_wanting(key, right, version, rest);
        }
        if right {
            // As it was left before a restart: nothing to write.
            self.held.insert(key.clone(), Held::found(content, version, rest));
        }
        !right
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let mut ready = Vec::new();
        for job in jobs {
            match self.kinds.get(job.planned.kind).await {
                Ok(resource) => ready.push((job, resource)),
                Err(error) => self.keep(&job, Err(error)),
            }
        }
        let client = &self.client;
        let requests = stream::iter(ready).map(|(job, resource)| async move {
            let done = request::apply(client, &resource, &job).await;
            (job, done)
        });
        let done: Vec<_> = requests.buffer_unordered(AT_ONCE).collect().await;
        for (job, done) in done {
            self.keep(&job, done);
        }
    }

    fn keep(&mut self, Job { planned, over }: &Job, done: Result<Option<String>, String>) {
        let key = (planned.kind, planned.namespace.clone(), planned.name.clone());
        let failures = self.held.remove(&key).map_or(0, |held| held.failures);
        let written = done.map_err(|error| {
            if !self.kinds.is_unfound(key.0) {
                tracing::warn!(policy = name_of(&key), error, failures = failures + 1, "writing a policy");
            }
            self.kinds.forget(key.0);
            failures + 1
        });
        let seen = over.as_ref().map(|ours| ours.version.clone());
        let held = Held::tried(planned.content(), seen, written, self.rest(&key));
        self.held.insert(key, held);
    }

    async fn remove(&mut self, gone: Vec<(Key, Ours)>) {
        for (key, ours) in gone {
            let Ok(resource) = self.kinds.get(key.0).await else {
                self.again = Some(Instant::now() + FIRST_RETRY);
                continue;
            };
            match request::delete(&self.client, &resource, &key, ours).await {
                Ok(true) => tracing::info!(policy = name_of(&key), "a policy is removed: it is not needed"),
                // The watch will tell.
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(policy = name_of(&key), error, "removing a policy");
                    self.again = Some(Instant::now() + FIRST_RETRY);
                }
            }
        }
    }

    /// How long a policy that is right is left alone: each another time, so that not all come at once.
    fn rest(&self, key: &Key) -> Duration {
        self.resync.mul_f64(1.0 - spread(&name_of(key)) / 2.0)
    }

    /// What stands in the way of policies; each is said when it is new.
    fn sayings(&self, world: &World, plan: &Plan) -> BTreeSet<(Key, String)> {
        let foreign = plan.policies.keys().filter(|(kind, space, name)| {
            world.mesh().policy(*kind, space, name).is_some_and(|policy| policy.ours.is_none())
        });
        let foreign = foreign.map(|key| (key.clone(), "one of this name is there which Fairlead did not make".into()));
        let withheld = plan.withheld.iter().map(|(space, other)| {
            let key = (MeshKind::Network, space.clone(), mesh::NETWORK.to_owned());
            (key, format!("NetworkPolicy `{other}` is there, and Fairlead's would open what it closes"))
        });
        let now: BTreeSet<(Key, String)> = foreign.chain(withheld).collect();
        for (key, why) in now.difference(&self.said) {
            tracing::warn!(policy = name_of(key), why, "a policy is not written");
        }
        now
    }

    fn pretend(&mut self, output: &mut (dyn Write + Send + Sync), job: Job) {
        if let Err(error) = print_value(output, &job.planned.object("v1")) {
            tracing::error!("printing a policy: {error:#}");
        }
        let seen = job.over.map(|ours| ours.version);
        let mut held = Held::tried(job.planned.content(), seen, Ok(None), FOR_EVER);
        held.due = Instant::now() + FOR_EVER;
        self.held.insert((job.planned.kind, job.planned.namespace, job.planned.name), held);
    }
}

fn name_of((kind, namespace, name): &Key) -> String {
    format!("{} {namespace}/{name}", mesh::kind(*kind))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::Value;

    use super::*;

    /// What an API server that is away costs: one look for the kind in a pass, and a wait for each policy.
    #[tokio::test]
    async fn what_cannot_be_looked_for_waits_and_is_asked_once() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                drop(stream);
            }
        });
        let config = kube::Config::new(format!("http://{address}").parse().expect("an address"));
        let (_facts, worlds) = crate::ledger::start(World::default());
        let client = Client::try_from(config).expect("a client");
        let mut keeper = Keeper::new(&client, &worlds, Duration::from_mins(10));
        let jobs = || {
            let planned = |name: u8| Planned {
                kind: MeshKind::Authorization,
                namespace: Label::parse("team-a").expect("a name"),
                name: name.to_string(),
                owner: None,
                spec: Value::Null,
            };
            (0..50).map(|name| Job { planned: planned(name), over: None }).collect()
        };
        keeper.write(jobs()).await;
        let once = asked.load(Ordering::Relaxed);
        assert!((1..10).contains(&once), "it asked {once} times");
        let now = Instant::now();
        assert_eq!(keeper.held.len(), 50);
        assert!(keeper.held.values().all(|held| held.due > now + FIRST_RETRY / 2 && held.failures == 1));
        // In the next pass it asks again, and waits longer.
        keeper.kinds.begin_pass();
        keeper.write(jobs()).await;
        assert_eq!(asked.load(Ordering::Relaxed), once * 2);
        assert!(keeper.held.values().all(|held| held.due > now + FIRST_RETRY * 3 / 2 && held.failures == 2));
        let rests: BTreeSet<Duration> = keeper.held.keys().map(|key| keeper.rest(key)).collect();
        assert!(rests.len() > 40 && rests.iter().all(|rest| (300..=600).contains(&rest.as_secs())), "{rests:?}");
    }
}
