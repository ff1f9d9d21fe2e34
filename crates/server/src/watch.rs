//! The cluster's objects become facts: one watch a kind, each begun again for ever.

pub mod mesh;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fairlead_model::world::Kind;
use fairlead_model::{Fact, read};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, rbac::v1 as rbac};
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cluster::{self, KubeflowKind};
use crate::ledger::{Facts, Worlds};
use crate::picture::Picture;

/// The longest wait before the next try: kube's own backoff grows to 30 s and then notices late that the server is back.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// How long a kind's first list may take before the last picture stands in for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Every Pod of a Notebook has this label. It keeps the list short; whose a Pod is, the owners decide.
const POD_LABEL: &str = "notebook-name";

/// How well a kind is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sight {
    /// Not at all.
    Awaited,
    /// As it was in the last picture.
    Stale,
    /// Listed by this process, in the world, and followed since.
    Listed,
}

/// How well each kind is known, as it changes.
#[derive(Debug, Clone)]
pub struct Sights(watch::Receiver<BTreeMap<Kind, Sight>>);

impl Sights {
    /// Whether every kind has been listed.
    #[must_use]
    pub fn all_listed(&self) -> bool {
        self.0.borrow().values().all(|sight| *sight == Sight::Listed)
    }

    /// Whether nothing is missing, be it by an old picture: then people can be let in.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.0.borrow().values().all(|sight| *sight != Sight::Awaited)
    }

    /// The kinds that have not been listed.
    #[must_use]
    pub fn unlisted(&self) -> Vec<Kind> {
        self.0.borrow().iter().filter(|(_, sight)| **sight != Sight::Listed).map(|(kind, _)| *kind).collect()
    }

    /// Waits until something of it changes.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until every kind has been listed, or for ever where the watches have ended.
    pub async fn wait_listed(&mut self) {
        let listed = |sights: &BTreeMap<Kind, Sight>| sights.values().all(|sight| *sight == Sight::Listed);
        if self.0.wait_for(listed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Follows every kind until `stop`. Where the API server does not answer, `picture` stands in for what it cannot tell,
/// until the picture is too old.
#[must_use]
pub fn start(
    client: &Client,
    facts: &Facts,
    worlds: &Worlds,
    picture: Option<&Picture>,
    stop: &CancellationToken,
) -> Sights {
    let (sights, seen) = watch::channel(Kind::ALL.map(|kind| (kind, Sight::Awaited)).into());
    for kind in Kind::ALL {
        let (facts, worlds, sights) = (facts.clone(), worlds.clone(), sights.clone());
        let one = One { kind, facts, worlds, sights, listed: AtomicBool::new(false), sent: AtomicU64::new(0) };
        let picture = picture.and_then(|picture| picture.of(kind));
        let (client, stop) = (client.clone(), stop.clone());
        tokio::spawn(async move {
            // Both in one task: between two awaits only one of them acts, so an old picture never follows a list.
            let both = Box::pin(async { tokio::join!(one.follow(&client), one.stand_in(picture)) });
            stop.run_until_cancelled(both).await;
        });
    }
    Sights(seen)
}

/// Every kind as it is now, without following it. A kind that the API server does not have is empty.
pub async fn list_once(client: &Client) -> kube::Result<Vec<Fact>> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let items = match kind {
            Kind::Profile => listed_kubeflow(client, cluster::PROFILE, read_profile).await?,
            Kind::Notebook => listed_kubeflow(client, cluster::NOTEBOOK, read_notebook).await?,
            Kind::Namespace => listed::<core::Namespace>(client, "", read::namespace).await?,
            Kind::Member => listed::<rbac::RoleBinding>(client, "", read::role_binding).await?,
            Kind::StatefulSet => listed::<apps::StatefulSet>(client, "", read::stateful_set).await?,
            Kind::Pod => listed::<core::Pod>(client, POD_LABEL, read::pod).await?,
            Kind::Node => listed::<core::Node>(client, "", read::node).await?,
            Kind::Service => listed::<core::Service>(client, "", read::service).await?,
        };
        all.push(Fact::All(kind, items));
    }
    Ok(all)
}

/// What one kind's watch writes to.
struct One {
    kind: Kind,
    facts: Facts,
    worlds: Worlds,
    /// Set before the first list is sent: from then on no picture may follow.
    listed: AtomicBool,
    /// Complete lists that were sent, those of a picture included.
    sent: AtomicU64,
    sights: watch::Sender<BTreeMap<Kind, Sight>>,
}

impl One {
    async fn follow(&self, client: &Client) {
        match self.kind {
            Kind::Profile => self.follow_kubeflow(client, cluster::PROFILE, read_profile).await,
            Kind::Notebook => self.follow_kubeflow(client, cluster::NOTEBOOK, read_notebook).await,
            Kind::Namespace => self.follow_known::<core::Namespace>(client, "", read::namespace).await,
            Kind::Member => self.follow_known::<rbac::RoleBinding>(client, "", read::role_binding).await,
            Kind::StatefulSet => self.follow_known::<apps::StatefulSet>(client, "", read::stateful_set).await,
            Kind::Pod => self.follow_known::<core::Pod>(client, POD_LABEL, read::pod).await,
            Kind::Node => self.follow_known::<core::Node>(client, "", read::node).await,
            Kind::Service => self.follow_known::<core::Service>(client, "", read::service).await,
        }
    }

    async fn follow_known<K>(&self, client: &Client, labels: &str, read: impl Fn(&K) -> Option<Fact>)
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        loop {
            self.follow_api(Api::<K>::all(client.clone()), labels, &read).await;
            tokio::time::sleep(MAX_BACKOFF).await;
        }
    }

    /// A kind that may be absent: it is looked for until it is there, and again when it has gone.
    async fn follow_kubeflow(
        &self,
        client: &Client,
        kind: KubeflowKind,
        read: impl Fn(&DynamicObject) -> Option<Fact>,
    ) {
        let mut said = false;
        loop {
            match cluster::served(client, kind).await {
                Ok(Some(resource)) => {
                    said = false;
                    self.follow_api(Api::all_with(client.clone(), &resource), "", &read).await;
                }
                Ok(None) if !said => {
                    tracing::warn!(kind = kind.kind, "the cluster has no such kind yet: waiting for Kubeflow");
                    said = true;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(kind = kind.kind, error = chain(&error), "looking for the kind"),
            }
            tokio::time::sleep(MAX_BACKOFF).await;
        }
    }

    /// Follows until the API server says that there is no such kind.
    async fn follow_api<K>(&self, api: Api<K>, labels: &str, read: impl Fn(&K) -> Option<Fact>)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let config = if labels.is_empty() { Config::default() } else { Config::default().labels(labels) };
        let events = watcher::watcher(api, config);
        pin_mut!(events);
        let mut wait = Duration::ZERO;
        let mut list = Vec::new();
        while let Some(event) = events.next().await {
            // kube says `Init` before it asks, so that is no sign of life.
            if !matches!(event, Err(_) | Ok(Event::Init)) {
                wait = Duration::ZERO;
            }
            match event {
                Ok(Event::Init) => list.clear(),
                Ok(Event::InitApply(object)) => list.extend(self.read(&object, &read)),
                Ok(Event::InitDone) => {
                    self.send_list(std::mem::take(&mut list)).await;
                }
                Ok(Event::Apply(object)) => {
                    if let Some(fact) = self.read(&object, &read) {
                        self.send(fact).await;
                    }
                }
                Ok(Event::Delete(object)) => {
                    if let Some(fact) = self.read(&object, &read) {
                        self.send(read::gone(fact)).await;
                    }
                }
                Err(error) if no_such_kind(&error) => return,
                Err(error) => {
                    wait = (wait * 2).clamp(Duration::from_millis(100), MAX_BACKOFF);
                    tracing::warn!(kind = self.kind.plural(), error = chain(&error), "watching; trying again");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn read<K: Resource>(&self, object: &K, read: impl Fn(&K) -> Option<Fact>) -> Option<Fact> {
        let fact = read(object);
        if fact.is_none() {
            let meta = object.meta();
            tracing::debug!(kind = self.kind.plural(), namespace = meta.namespace, name = meta.name, "does not parse");
        }
        fact
    }

    /// Lets the last picture stand in for a first list that does not come, and takes it back when it is too old.
    async fn stand_in(&self, picture: Option<(Fact, Instant)>) {
        let Some((fact, ends)) = picture else { return };
        for (at, fact, sight) in
            [(Instant::now() + PATIENCE, fact, Sight::Stale), (ends, Fact::All(self.kind, Vec::new()), Sight::Awaited)]
        {
            tokio::time::sleep_until(at).await;
            let Ok(place) = self.facts.reserve().await else { return };
            if self.listed.load(Ordering::Relaxed) {
                return;
            }
            tracing::warn!(kind = self.kind.plural(), ?sight, "the API server does not answer");
            self.sent.fetch_add(1, Ordering::Relaxed);
            place.send(fact);
            self.see(sight);
        }
    }

    /// Sends a complete list, and says so once the world has it: whoever waits for all kinds must not act on less.
    async fn send_list(&self, list: Vec<Fact>) {
        self.listed.store(true, Ordering::Relaxed);
        let nth = self.sent.fetch_add(1, Ordering::Relaxed) + 1;
        let mut worlds = self.worlds.clone();
        self.send(Fact::All(self.kind, list)).await;
        // A list is never lost but with the ledger, and then nobody waits any more.
        let _ = worlds.wait_for(|world| world.listings(self.kind) >= nth).await;
        self.see(Sight::Listed);
    }

    async fn send(&self, fact: Fact) {
        // It fails when the ledger has ended, and so does the process.
        let _ = self.facts.send(fact).await;
    }

    fn see(&self, sight: Sight) {
        self.sights.send_if_modified(|sights| sights.insert(self.kind, sight) != Some(sight));
    }
}

async fn listed<K>(client: &Client, labels: &str, read: impl Fn(&K) -> Option<Fact>) -> kube::Result<Vec<Fact>>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let params = kube::api::ListParams::default().labels(labels);
    Ok(Api::<K>::all(client.clone()).list(&params).await?.items.iter().filter_map(read).collect())
}

async fn listed_kubeflow(
    client: &Client,
    kind: KubeflowKind,
    read: impl Fn(&DynamicObject) -> Option<Fact>,
) -> kube::Result<Vec<Fact>> {
    let Some(resource) = cluster::served(client, kind).await? else { return Ok(Vec::new()) };
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    Ok(api.list(&kube::api::ListParams::default()).await?.items.iter().filter_map(read).collect())
}

fn read_profile(object: &DynamicObject) -> Option<Fact> {
    read::profile(&object.metadata, &object.data)
}

fn read_notebook(object: &DynamicObject) -> Option<Fact> {
    read::notebook(&object.metadata, &object.data)
}

fn no_such_kind(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(error) | watcher::Error::WatchStartFailed(error) => cluster::is_absent(error),
        _ => false,
    }
}

/// An error with its causes, as one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}
