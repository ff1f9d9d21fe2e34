//! A stand-in for Kubeflow's controllers, which cannot be had outside a full Kubeflow.
//!
//! This is **not Kubeflow**. It is written after the Go sources of kubeflow/notebooks (branch
//! `notebooks-v1`) and kubeflow/dashboard (branch `main`) and does to the API server what they do,
//! faults included, so that Fairlead is tested against the cluster it will meet: each behaviour
//! names the upstream file it follows. Left out: `VirtualServices`, the culler, repeating Pods' events
//! on the Notebook, a Profile's cloud plugins, and upstream's habit of dying of a malformed object,
//! which is logged and skipped here.

use std::{sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _, future::join};
use kube::{
    Client, ResourceExt as _,
    api::DynamicObject,
    runtime::{
        controller::{Action, Error},
        reflector::ObjectRef,
        utils::Backoff,
        watcher,
    },
};

pub mod contributor;
pub mod notebook;
mod policy;
pub mod profile;
mod roles;
mod settle;

/// Runs the notebook controller and the profile controller until dropped.
///
/// The cluster roles `kubeflow-admin`, `kubeflow-edit` and `kubeflow-view` are created first if they
/// are missing. The kinds must be installed already, as [`crate::crds::install`] does. The client
/// should be built with `Config::default_retry = false`: with it, a watch of a restarting API server
/// may hang for ten seconds.
pub async fn run(client: Client) -> anyhow::Result<()> {
    roles::ensure(&client).await?;
    let notebooks = drive("notebook", notebook::controller::reconciliations(&client));
    let profiles = drive("profile", profile::controller::reconciliations(&client));
    join(notebooks, profiles).await;
    anyhow::bail!("the stand-in's controllers ended by themselves")
}

/// Why one object could not be brought to its wanted state this time.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(#[from] anyhow::Error);

/// Pulls reconciliations out of a controller. Their own failures were logged by [`again`] already.
async fn drive<S>(kind: &str, reconciliations: S)
where
    S: Stream<Item = Result<(ObjectRef<DynamicObject>, Action), Error<Failed, watcher::Error>>>,
{
    reconciliations
        .for_each(async |outcome| match outcome {
            Err(Error::QueueError(error)) => tracing::warn!(kind, %error, "watch was interrupted"),
            Err(Error::RunnerError(error)) => tracing::warn!(kind, %error, "reconciler broke down"),
            Ok(_) | Err(Error::ObjectNotFound(_) | Error::ReconcilerFailed(..)) => {}
        })
        .await;
}

/// Tries a failed object again: at once where somebody else had written it in between, else each
/// second, where upstream's queue grows from 5 ms to 16 minutes.
#[expect(clippy::needless_pass_by_value, reason = "the signature is the controller's")]
fn again(object: Arc<DynamicObject>, failure: &Failed, _: Arc<Client>) -> Action {
    let name = object.name_any();
    let namespace = object.namespace();
    if settle::is_conflict(&failure.0) {
        tracing::debug!(name, namespace, error = format!("{failure:#}"), "written in between");
        return Action::requeue(Duration::from_millis(50));
    }
    tracing::warn!(name, namespace, error = format!("{failure:#}"), "could not reconcile");
    Action::requeue(Duration::from_secs(1))
}

/// Waits a second before each attempt to watch again: kube's own wait grows to half a minute, long
/// after the API server is back.
struct EverySecond;

impl Iterator for EverySecond {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(Duration::from_secs(1))
    }
}

impl Backoff for EverySecond {
    fn reset(&mut self) {}
}
