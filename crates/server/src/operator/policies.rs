//! Keeps the policies of mesh and network as the plan says, and leaves alone what somebody else made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::plan::MANAGER;
use fairlead_model::plan::mesh::{self, Plan, Planned, Settings};
use fairlead_model::world::{MeshKind, Ours};
use fairlead_model::{Label, World};
use futures::{StreamExt, stream};
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::Value;
use tokio::time::Instant;

use super::print_value;
use crate::cluster::is_answer;
use crate::ledger::Worlds;
use crate::watch::{chain, mesh as watched};

/// Changes that come close together are written together: a rollout changes each gateway's address.
const DEBOUNCE: Duration = Duration::from_millis(250);
/// At most this many requests at once.
const AT_ONCE: usize = 8;
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the watch may take to show what was written; after that it is written again.
const SETTLES: Duration = Duration::from_secs(5);
/// Waits between tries of what failed: from this,
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// up to this.
const LAST_RETRY: Duration = Duration::from_mins(1);

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

/// One policy, as it was last written or tried.
struct Held {
    content: Value,
    /// The version that was known when it was written, and the one that it then had.
    seen: Option<String>,
    written: Option<String>,
    /// Whether the watch has shown it since: another version is somebody's change from then on.
    settled: bool,
    failures: u32,
    due: Instant,
}

/// A policy to write, over the one that is there or as a new one.
struct Job {
    planned: Planned,
    over: Option<Ours>,
}

pub(super) struct Keeper {
    client: Client,
    worlds: Worlds,
    resync: Duration,
    held: BTreeMap<Key, Held>,
    /// What was said, so that it is said once.
    said: BTreeSet<(Key, String)>,
    resources: BTreeMap<MeshKind, ApiResource>,
    /// Whether the API server knows `endPort`, and until when that is believed.
    end_port: Option<(bool, Instant)>,
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
            resources: BTreeMap::new(),
            end_port: None,
            again: None,
        }
    }

    /// Works until the ledger ends.
    pub(super) async fn run(mut self, mut policies: Policies) -> Result<()> {
        loop {
            let world = self.worlds.borrow_and_update().clone();
            self.again = None;
            let mut settings = policies.settings.clone();
            let networks = !settings.network_policies || self.knows_end_port(&mut settings).await;
            self.pass(&world, &settings, networks, &mut policies.dry_run).await;
            let next = self.held.values().map(|held| held.due).chain(self.again).min();
            let next = next.unwrap_or_else(|| Instant::now() + self.resync);
            tokio::select! {
                changed = self.worlds.changed() => {
                    changed.context("following the world")?;
                    tokio::time::sleep(DEBOUNCE).await;
                }
                () = tokio::time::sleep_until(next) => {}
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
        let (content, now) = (planned.content(), Instant::now());
        let version = ours.map(|ours| ours.version.clone());
        let right = ours.is_some_and(|ours| ours.content == content);
        let again = now + self.resync;
        let Some(held) = self.held.get_mut(key).filter(|held| held.content == content) else {
            if right {
                // As it was left before a restart: nothing to write.
                let seen = version.clone();
                let held = Held { content, seen, written: version, settled: true, failures: 0, due: again };
                self.held.insert(key.clone(), held);
            }
            return !right;
        };
        if held.due <= now && held.settled {
            return true;
        }
        if right || (version.is_some() && version == held.written) {
            if !held.settled {
                (held.settled, held.failures, held.due) = (true, 0, again);
            }
            held.written = version;
            return false;
        }
        if held.settled {
            tracing::warn!(policy = name_of(key), "somebody changed a policy of Fairlead's: it is put back");
            return true;
        }
        // Not shown by the watch yet, or failed: unless somebody else wrote in between, that takes its time.
        held.due <= now || version != held.seen
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let mut ready = Vec::new();
        for job in jobs {
            match self.resource(job.planned.kind).await {
                Some(resource) => ready.push((job, resource)),
                None => self.again = Some(Instant::now() + FIRST_RETRY),
            }
        }
        let client = &self.client;
        let requests = stream::iter(ready).map(|(job, resource)| async move {
            let done = apply(client, &resource, &job).await;
            (job, done)
        });
        let done: Vec<_> = requests.buffer_unordered(AT_ONCE).collect().await;
        for (job, done) in done {
            self.keep(&job, done);
        }
    }

    fn keep(&mut self, Job { planned, over }: &Job, done: Result<Option<String>, String>) {
        let key = (planned.kind, planned.namespace.clone(), planned.name.clone());
        let before = self.held.remove(&key);
        let (written, failures, wait) = match done {
            Ok(written) => (written, 0, SETTLES),
            Err(error) => {
                let failures = before.map_or(1, |held| held.failures + 1);
                tracing::warn!(policy = name_of(&key), error, failures, "writing a policy");
                // The kind may be served in another version now.
                self.resources.remove(&key.0);
                (None, failures, LAST_RETRY.min(FIRST_RETRY * 2_u32.pow(failures.min(6) - 1)))
            }
        };
        let seen = over.as_ref().map(|ours| ours.version.clone());
        // An apply that changed nothing will not be shown.
        let settled = written.is_some() && written == seen;
        let due = Instant::now() + if settled { self.resync } else { wait };
        self.held.insert(key, Held { content: planned.content(), seen, written, settled, failures, due });
    }

    async fn remove(&mut self, gone: Vec<(Key, Ours)>) {
        for (key, ours) in gone {
            let Some(resource) = self.resource(key.0).await else { continue };
            let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), key.1.as_str(), &resource);
            // Only what was seen to be ours: nothing that somebody else makes of it meanwhile.
            let of = Preconditions { uid: Some(ours.uid), resource_version: Some(ours.version) };
            let params = DeleteParams { preconditions: Some(of), ..DeleteParams::default() };
            match tokio::time::timeout(PATIENCE, api.delete(&key.2, &params)).await {
                Ok(Ok(_)) => tracing::info!(policy = name_of(&key), "a policy is removed: it is not needed"),
                // Gone already, or changed: the watch will tell.
                Ok(Err(error)) if is_answer(&error, 404) || is_answer(&error, 409) => {}
                Ok(Err(error)) => {
                    tracing::warn!(policy = name_of(&key), error = chain(&error), "removing a policy");
                    self.again = Some(Instant::now() + FIRST_RETRY);
                }
                Err(_) => self.again = Some(Instant::now() + FIRST_RETRY),
            }
        }
    }

    async fn resource(&mut self, kind: MeshKind) -> Option<ApiResource> {
        if !self.resources.contains_key(&kind) {
            match watched::served(&self.client, kind).await {
                Ok(found) => drop(self.resources.insert(kind, found?)),
                Err(error) => {
                    tracing::warn!(kind = kind.plural(), error = chain(&error), "looking for the kind");
                    return None;
                }
            }
        }
        self.resources.get(&kind).cloned()
    }

    /// Whether it can be told which NetworkPolicies there should be: where the API server does not know `endPort`, it
    /// would leave the field out without a word, and so close ports.
    async fn knows_end_port(&mut self, settings: &mut Settings) -> bool {
        let now = Instant::now();
        if self.end_port.is_none_or(|(_, until)| until <= now) {
            match self.client.apiserver_version().await {
                Ok(version) => {
                    let knows = has_end_port(&version.git_version);
                    if !knows && self.end_port.is_none_or(|(before, _)| before) {
                        let version = version.git_version;
                        tracing::warn!(version, "no NetworkPolicy is written: this needs Kubernetes 1.22 (`endPort`)");
                    }
                    self.end_port = Some((knows, now + self.resync));
                }
                Err(error) => {
                    tracing::warn!(error = chain(&error), "asking for the API server's version");
                    self.again = Some(now + FIRST_RETRY);
                }
            }
        }
        if let Some((knows, _)) = self.end_port {
            settings.network_policies = knows;
        }
        self.end_port.is_some()
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
        let due = Instant::now() + FOR_EVER;
        let content = job.planned.content();
        let seen = job.over.map(|ours| ours.version);
        let held = Held { content, written: None, seen, settled: false, failures: 0, due };
        self.held.insert((job.planned.kind, job.planned.namespace, job.planned.name), held);
    }
}

/// Writes a policy; its version. By force only over what was seen to be ours, in the very version that was seen.
async fn apply(client: &Client, resource: &ApiResource, job: &Job) -> Result<Option<String>, String> {
    let Job { planned, over } = job;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), planned.namespace.as_str(), resource);
    let mut object = planned.object(&resource.version);
    let mut params = PatchParams::apply(MANAGER);
    if let Some(ours) = over {
        object["metadata"]["uid"] = ours.uid.as_str().into();
        object["metadata"]["resourceVersion"] = ours.version.as_str().into();
        params = params.force();
    }
    match tokio::time::timeout(PATIENCE, api.patch(&planned.name, &params, &Patch::Apply(&object))).await {
        Ok(Ok(written)) => Ok(written.metadata.resource_version),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(format!("no answer from the API server in {} s", PATIENCE.as_secs())),
    }
}

/// `endPort` is there by default from 1.22 on. By the version as a whole: some builds leave its parts empty.
fn has_end_port(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (1, 22))
}

fn name_of((kind, namespace, name): &Key) -> String {
    format!("{} {namespace}/{name}", mesh::kind(*kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_port_is_known_from_1_22_on() {
        for (version, knows) in [
            ("v1.20.2", false),
            ("v1.21.14-vendor.1", false),
            ("v1.22.0", true),
            ("v1.30.1+vendor1", true),
            ("v1.36.2", true),
            ("v2.0.0", true),
            ("v1", false),
            ("", false),
        ] {
            assert_eq!(has_end_port(version), knows, "{version}");
        }
    }
}
