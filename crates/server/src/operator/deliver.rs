//! One notebook's Secret into the cluster, unless it is somebody else's.

use std::time::Duration;

use fairlead_model::plan::MANAGER;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;

use crate::cluster::is_answer;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Secret that is in the cluster as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivered {
    /// Its `resourceVersion`.
    pub(super) version: String,
    /// Whether somebody else had changed it, and it was put back.
    pub(super) restored: bool,
    /// Whether it was there in another version before, or not at all.
    pub(super) written: bool,
}

/// Why a Secret could not be delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// An object of that name is there which Fairlead did not make.
    #[error("a Secret of that name is there which Fairlead did not make")]
    Foreign,
    /// It belongs to an earlier Notebook of that name, and will be collected.
    #[error("the Secret of an earlier Notebook of that name is still there")]
    Leftover,
    /// It is ours, and the API server takes no change of it: it was made immutable, or made again with another type.
    #[error("the Secret is there and cannot be changed")]
    Frozen(#[source] kube::Error),
    /// The API server.
    #[error("writing the Secret")]
    Request(#[from] kube::Error),
    /// No answer.
    #[error("no answer from the API server in {} s", PATIENCE.as_secs())]
    Silent,
}

/// What came of it, as `fairlead_secret_writes_total` has it.
pub(super) fn outcome(done: &Result<Delivered, Undelivered>) -> &'static str {
    match done {
        Ok(Delivered { written: true, .. }) => "written",
        Ok(Delivered { written: false, .. }) => "unchanged",
        Err(Undelivered::Foreign) => "foreign",
        Err(_) => "failed",
    }
}

/// Writes `secret` for the Notebook with `uid`. `last` is its version when these very bytes were written: where it is
/// still there in that version, nothing is written.
pub(super) async fn deliver(
    client: &Client,
    secret: &Secret,
    uid: &str,
    last: Option<&str>,
) -> Result<Delivered, Undelivered> {
    let delivering = deliver_in_time(client, secret, uid, last);
    tokio::time::timeout(PATIENCE, delivering).await.unwrap_or(Err(Undelivered::Silent))
}

async fn deliver_in_time(
    client: &Client,
    secret: &Secret,
    uid: &str,
    last: Option<&str>,
) -> Result<Delivered, Undelivered> {
    let name = secret.name_any();
    let api: Api<Secret> = Api::namespaced(client.clone(), &secret.namespace().unwrap_or_default());
    // The metadata alone: what is in a stranger's Secret is none of our business.
    let found = api.get_metadata_opt(&name).await?;
    if let Some(found) = &found {
        vet(found.meta(), uid)?;
        if last.is_some() && found.metadata.resource_version.as_deref() == last {
            let version = found.resource_version().unwrap_or_default();
            return Ok(Delivered { version, restored: false, written: false });
        }
    }
    let apply = PatchParams::apply(MANAGER);
    // What we write is always valid: a change of what is there is refused because of what is there.
    let frozen = |error: kube::Error| {
        if found.is_some() && is_answer(&error, 422) { Undelivered::Frozen(error) } else { error.into() }
    };
    let (written, restored) = match api.patch(&name, &apply, &Patch::Apply(secret)).await {
        // It is ours, and somebody else changed what is in it: an editor who leaves must not leave a key behind.
        Err(error) if is_answer(&error, 409) => {
            let found = api.get_metadata_opt(&name).await?;
            found.iter().try_for_each(|found| vet(found.meta(), uid))?;
            (api.patch(&name, &apply.force(), &Patch::Apply(secret)).await.map_err(frozen)?, true)
        }
        written => (written.map_err(frozen)?, false),
    };
    let version = written.resource_version().unwrap_or_default();
    // The API server writes nothing where an apply changes nothing.
    let before = found.and_then(|found| found.resource_version());
    Ok(Delivered { written: before.as_ref() != Some(&version), version, restored })
}

/// Whether a Secret that was found is ours and of this Notebook.
fn vet(meta: &ObjectMeta, uid: &str) -> Result<(), Undelivered> {
    let label = meta.labels.as_ref().and_then(|labels| labels.get("app.kubernetes.io/managed-by"));
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    match label {
        Some(label) if label == MANAGER && owners.iter().any(|owner| owner.uid == uid) => Ok(()),
        Some(label) if label == MANAGER && owners.iter().any(|owner| owner.kind == "Notebook") => {
            Err(Undelivered::Leftover)
        }
        _ => Err(Undelivered::Foreign),
    }
}

/// Makes the kubelet look at a Pod's Secret now instead of within a minute, by an annotation that is written through
/// the Pod's status: that needs no right to change Pods.
pub(super) async fn touch(client: &Client, namespace: &str, pod: &str, version: &str) -> Result<(), Undelivered> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({"metadata": {"annotations": {fairlead_model::plan::TOUCHED: version}}}));
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    match tokio::time::timeout(PATIENCE, pods.patch_status(pod, &params, &patch)).await {
        Ok(Err(error)) if !is_answer(&error, 404) => Err(error.into()),
        Ok(_) => Ok(()),
        Err(_) => Err(Undelivered::Silent),
    }
}
