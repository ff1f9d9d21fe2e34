//! What an outsider sees of the operator's work: its Secrets and its touches, when they came.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Namespace and notebook.
pub(super) type Id = (String, String);

/// Something that was seen: of a Secret its version and how many keys are in it, of a Pod for which version it was
/// touched.
enum One {
    Secret(Id, String, usize),
    Pod(Id, Option<String>),
}

/// All that was seen.
pub(super) struct Seen {
    events: mpsc::UnboundedReceiver<(Instant, One)>,
    secrets: BTreeMap<Id, (String, usize)>,
    pods: BTreeMap<Id, Option<String>>,
    /// The notebooks of which something has changed since [`Seen::forget`].
    pub(super) changed: BTreeSet<Id>,
    /// They end with this: a watch of an API server that has gone would try again for ever, and take the next size's time.
    _watches: JoinSet<()>,
}

impl Seen {
    pub(super) fn start(client: &Client) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let mut watches = JoinSet::new();
        watches.spawn(follow(client, "app.kubernetes.io/managed-by=fairlead", sender.clone(), |secret: &Secret| {
            let name = secret.name_any().strip_prefix("fairlead-")?.to_owned();
            let keys = secret.data.as_ref()?.get("authorized_keys")?;
            let lines = keys.0.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"ssh-")).count();
            Some(One::Secret((secret.namespace()?, name), secret.resource_version()?, lines))
        }));
        watches.spawn(follow(client, "notebook-name", sender, |pod: &Pod| {
            let name = pod.name_any().strip_suffix("-0")?.to_owned();
            Some(One::Pod((pod.namespace()?, name), pod.annotations().get("fairlead.dev/secret-version").cloned()))
        }));
        let (secrets, pods, changed) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { events, secrets, pods, changed, _watches: watches }
    }

    /// Waits until it is as wished; when the last of it came.
    pub(super) async fn until(&mut self, patience: Duration, wish: impl Fn(&Self) -> bool) -> Result<Instant> {
        let deadline = Instant::now() + patience;
        let mut last = Instant::now();
        while !wish(self) {
            let next = tokio::time::timeout_at(deadline.into(), self.events.recv()).await;
            let Ok(next) = next else { bail!("not so in {} s: {:?}", patience.as_secs(), self.complete(0)) };
            let mut next = Some(next.context("the watches have ended")?);
            while let Some((at, one)) = next {
                last = at;
                self.take(one);
                next = self.events.try_recv().ok();
            }
        }
        Ok(last)
    }

    fn take(&mut self, one: One) {
        match one {
            One::Secret(id, version, lines) => {
                self.changed.insert(id.clone());
                self.secrets.insert(id, (version, lines));
            }
            One::Pod(id, touched) => {
                if self.pods.get(&id).is_some_and(|before| *before != touched) {
                    self.changed.insert(id.clone());
                }
                self.pods.insert(id, touched);
            }
        }
    }

    /// Begins to count anew what changes.
    pub(super) fn forget(&mut self) {
        while let Ok((_, one)) = self.events.try_recv() {
            self.take(one);
        }
        self.changed.clear();
    }

    /// Forgets what is known of a Pod that was deleted.
    pub(super) fn lose_pod(&mut self, id: &Id) {
        self.forget();
        self.pods.remove(id);
    }

    /// How many Secrets have so many keys, or more, and how many Pods were touched for the version that is there.
    pub(super) fn complete(&self, lines: usize) -> (usize, usize) {
        let secrets = self.secrets.values().filter(|(_, keys)| *keys >= lines).count();
        (secrets, self.pods.keys().filter(|id| self.is_touched(id)).count())
    }

    /// How many keys a notebook's Secret has.
    pub(super) fn keys(&self, id: &Id) -> usize {
        self.secrets.get(id).map_or(0, |(_, keys)| *keys)
    }

    /// Whether a notebook's Pod was touched for the version that is there.
    pub(super) fn is_touched(&self, id: &Id) -> bool {
        let version = self.secrets.get(id).map(|(version, _)| version);
        version.is_some() && self.pods.get(id).and_then(Option::as_ref) == version
    }
}

fn follow<K>(
    client: &Client,
    labels: &str,
    sender: mpsc::UnboundedSender<(Instant, One)>,
    read: impl Fn(&K) -> Option<One> + Send + Sync + 'static,
) -> impl Future<Output = ()> + Send + 'static
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let api: Api<K> = Api::all(client.clone());
    let config = watcher::Config::default().labels(labels);
    async move {
        let mut events = Box::pin(watcher::watcher(api, config).default_backoff());
        while let Some(event) = events.next().await {
            // Watches end and begin again by themselves.
            if let Ok(Event::Apply(object) | Event::InitApply(object)) = event
                && let Some(one) = read(&object)
                && sender.send((Instant::now(), one)).is_err()
            {
                return;
            }
        }
    }
}
