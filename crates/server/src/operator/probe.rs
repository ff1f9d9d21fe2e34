//! Whether a new Pod has an sshd: dialled until it greets. One that has run long enough without is reported meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fairlead_model::access::{decide, reach};
use fairlead_model::world::Uid;
use fairlead_model::{NotebookId, Time, World};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::greeting;

/// Between the first two tries.
const PAUSE: Duration = Duration::from_secs(2);
/// The same for a Pod that was reported to have none, as so many times what it had to show one: a policy that kept
/// Fairlead out may go.
const SELDOM: u32 = 5;
/// At most this many Pods are dialled, or asked the API server about, at once.
const AT_ONCE: usize = 16;
/// How long one request may take, since others wait for its place.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a probe found: the notebook, its Pod's UID and whether that greeted.
pub(super) type Found = (NotebookId, Uid, bool);

/// Dials Pods, each in a task of its own, and reports what it found.
pub(super) struct Prober {
    client: Client,
    patience: Duration,
    now: fn() -> Time,
    places: Arc<Semaphore>,
    found: mpsc::Sender<Found>,
}

/// A Pod to dial.
pub(super) struct Candidate {
    pub(super) uid: Uid,
    name: String,
    address: SocketAddr,
}

/// The Pod of a notebook and where its sshd should be; by the grant of anybody who may reach it, since nothing else
/// says that an address is the notebook's own.
pub(super) fn candidate(world: &World, id: &NotebookId) -> Option<Candidate> {
    let grant = decide(world, reach(world, id).first()?, id).ok()?;
    let (name, pod) = world.pods_of(id).find(|(_, pod)| pod.uid == grant.pod())?;
    Some(Candidate { uid: pod.uid.clone(), name: name.to_owned(), address: grant.address() })
}

impl Prober {
    pub(super) fn new(client: Client, patience: Duration, now: fn() -> Time) -> (Self, mpsc::Receiver<Found>) {
        let (found, results) = mpsc::channel(64);
        (Self { client, patience, now, places: Arc::new(Semaphore::new(AT_ONCE)), found }, results)
    }

    /// Dials until it is greeted. That is reported, and before, once, that it is not.
    pub(super) fn start(&self, id: &NotebookId, candidate: Candidate) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), id.namespace.as_str());
        let (id, patience, now) = (id.clone(), self.patience, self.now);
        let (places, found) = (self.places.clone(), self.found.clone());
        let over = found.clone();
        let dial = async move {
            let mut reported = false;
            let mut pause = PAUSE.min(patience);
            loop {
                let Ok(place) = places.acquire().await else { return };
                let greeted = greeting::read(candidate.address).await;
                let Err(error) = greeted else {
                    drop(place);
                    break drop(found.send((id, candidate.uid, true)).await);
                };
                tracing::debug!(notebook = %id, %error, "no greeting yet");
                // Its image may still be on the way: only a container that has run for a while has no sshd.
                let pod = timeout(PATIENCE, pods.get_opt(&candidate.name)).await;
                drop(place);
                match pod {
                    Ok(Ok(Some(pod))) if pod.metadata.uid.as_deref() == Some(&candidate.uid) => {
                        let without = ran(&pod, id.name.as_str(), now()).is_some_and(|ran| ran >= patience);
                        if without && !reported {
                            reported = true;
                            if found.send((id.clone(), candidate.uid.clone(), false)).await.is_err() {
                                return;
                            }
                        }
                    }
                    Ok(Ok(_)) => return,
                    Ok(Err(error)) => tracing::debug!(notebook = %id, %error, "reading the Pod"),
                    Err(_) => tracing::debug!(notebook = %id, "no answer about the Pod"),
                }
                tokio::time::sleep(if reported { patience * SELDOM } else { pause }).await;
                // A policy that keeps Fairlead out does so from all at once: few tries, and still some until it is said.
                pause = (pause * 2).min(patience / 4).max(PAUSE.min(patience));
            }
        };
        // Nobody hears it any more where this process no longer leads.
        tokio::spawn(async move {
            tokio::select! { () = dial => {} () = over.closed() => {} }
        });
    }
}

/// How long a container of a Pod has been running.
fn ran(pod: &Pod, container: &str, now: Time) -> Option<Duration> {
    let status = pod.status.as_ref()?.container_statuses.iter().flatten().find(|status| status.name == container)?;
    let since = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?;
    Some(Duration::from_millis(u64::try_from(now.0 - since.0.as_millisecond()).unwrap_or(0)))
}
