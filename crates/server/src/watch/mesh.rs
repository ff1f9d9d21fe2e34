//! Gateways' addresses and policies become facts, for the operator alone: nobody waits for them to let people in.

use std::fmt::Debug;
use std::time::Duration;

use fairlead_model::plan::{MANAGER, mesh};
use fairlead_model::read::mesh as objects;
use fairlead_model::world::{MeshFact, MeshKind};
use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{MAX_BACKOFF, chain, no_such_kind};
use crate::cluster;
use crate::ledger::Facts;

/// Versions of Istio's kinds, the best first. All are the same but for their name.
pub(crate) const ISTIO: &[&str] = &["v1", "v1beta1"];

/// Follows until `stop` what these settings depend on, and otherwise what Fairlead wrote before, to take it away.
pub fn start(client: &Client, facts: &Facts, settings: &mesh::Settings, stop: &CancellationToken) {
    let ours = format!("{}={MANAGER}", mesh::MANAGED_BY);
    let all_or_ours = |all: bool| if all { String::new() } else { ours.clone() };
    let policies = settings.mode == mesh::Mode::Policies;
    for kind in MeshKind::ALL {
        let labels = match kind {
            MeshKind::Gateway => format!("{}=true", mesh::GATEWAY_LABEL),
            MeshKind::Authorization | MeshKind::Peer => all_or_ours(policies),
            MeshKind::Network => all_or_ours(settings.network_policies),
        };
        let one = One { kind, facts: facts.clone(), labels };
        let (client, namespace, stop) = (client.clone(), settings.namespace.clone(), stop.clone());
        tokio::spawn(async move { Box::pin(stop.run_until_cancelled(one.follow(&client, &namespace))).await });
    }
}

/// The way to objects of a kind; `None` where the cluster has no such kind.
pub(crate) async fn served(client: &Client, kind: MeshKind) -> kube::Result<Option<ApiResource>> {
    let (group, name) = (mesh::group(kind), mesh::kind(kind));
    match kind {
        MeshKind::Authorization | MeshKind::Peer => cluster::served_in(client, group, name, ISTIO).await,
        // Everywhere, and in this version: nothing is asked.
        MeshKind::Gateway | MeshKind::Network => {
            Ok(Some(ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1", name))))
        }
    }
}

struct One {
    kind: MeshKind,
    facts: Facts,
    labels: String,
}

impl One {
    async fn follow(&self, client: &Client, namespace: &str) {
        // What fails is said when it is another failure than before: there may be no right to look.
        let mut said = String::new();
        loop {
            match served(client, self.kind).await {
                Ok(Some(_)) if self.kind == MeshKind::Gateway => {
                    self.follow_api(Api::<Pod>::namespaced(client.clone(), namespace), objects::gateway, &mut said)
                        .await;
                }
                Ok(Some(resource)) => {
                    let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
                    let read = |object: &DynamicObject| objects::policy(self.kind, &object.metadata, &object.data);
                    self.follow_api(api, read, &mut said).await;
                }
                Ok(None) => self.send(MeshFact::Absent(self.kind)).await,
                Err(error) => self.say(&mut said, chain(&error)),
            }
            tokio::time::sleep(MAX_BACKOFF).await;
        }
    }

    /// Follows until the API server says that there is no such kind.
    async fn follow_api<K>(&self, api: Api<K>, read: impl Fn(&K) -> Option<MeshFact>, said: &mut String)
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        let events = watcher::watcher(api, Config::default().labels(&self.labels));
        pin_mut!(events);
        let mut wait = Duration::ZERO;
        let mut list = Vec::new();
        while let Some(event) = events.next().await {
            // kube says `Init` before it asks, so that is no sign of life.
            if !matches!(event, Err(_) | Ok(Event::Init)) {
                wait = Duration::ZERO;
                said.clear();
            }
            match event {
                Ok(Event::Init) => list.clear(),
                Ok(Event::InitApply(object)) => list.extend(read(&object)),
                Ok(Event::InitDone) => self.send(MeshFact::All(self.kind, std::mem::take(&mut list))).await,
                Ok(Event::Apply(object)) => self.send_some(read(&object)).await,
                Ok(Event::Delete(object)) => self.send_some(read(&object).map(objects::gone)).await,
                Err(error) if no_such_kind(&error) => return,
                Err(error) => {
                    wait = (wait * 2).clamp(Duration::from_millis(100), MAX_BACKOFF);
                    self.say(said, chain(&error));
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn say(&self, said: &mut String, error: String) {
        if *said != error {
            tracing::warn!(kind = self.kind.plural(), error, "looking for policies; trying again");
            *said = error;
        }
    }

    async fn send_some(&self, fact: Option<MeshFact>) {
        if let Some(fact) = fact {
            self.send(fact).await;
        }
    }

    async fn send(&self, fact: MeshFact) {
        // It fails when the ledger has ended, and so does the process.
        let _ = self.facts.send(fact.into()).await;
    }
}
