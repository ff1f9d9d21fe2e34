//! One request about a policy: to write it as planned, or to take it away.

use std::fmt::Debug;
use std::time::Duration;

use fairlead_model::plan::MANAGER;
use fairlead_model::plan::mesh::{self, Planned};
use fairlead_model::world::Ours;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde::Serialize;
use serde_json::json;

use super::Key;
use crate::cluster::is_answer;
use crate::watch::chain;

/// How long one request may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A policy to write, over the one that is there or as a new one.
pub(super) struct Job {
    pub(super) planned: Planned,
    pub(super) over: Option<Ours>,
}

/// Writes a policy; its version. By force only over what was seen to be ours, in the very version that was seen.
pub(super) async fn apply(client: &Client, resource: &ApiResource, job: &Job) -> Result<Option<String>, String> {
    let Job { planned, over } = job;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), planned.namespace.as_str(), resource);
    let mut object = planned.object(&resource.version);
    let mut params = PatchParams::apply(MANAGER);
    if let Some(ours) = over {
        object["metadata"]["uid"] = ours.uid.as_str().into();
        object["metadata"]["resourceVersion"] = ours.version.as_str().into();
        params = params.force();
    }
    let written = patch(&api, &planned.name, &params, &Patch::Apply(&object)).await?;
    if written.data["spec"] == planned.spec {
        return Ok(written.metadata.resource_version);
    }
    // An apply leaves what somebody else added, as a selector: the whole is put in its place.
    let whole = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": written.metadata.resource_version},
        {"op": "replace", "path": "/spec", "value": planned.spec},
    ]);
    let whole = serde_json::from_value(whole).map_err(|error| error.to_string())?;
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    let replaced = patch(&api, &planned.name, &params, &Patch::<()>::Json(whole)).await?;
    if replaced.data["spec"] != planned.spec {
        let policy = format!("{} {}/{}", mesh::kind(planned.kind), planned.namespace, planned.name);
        tracing::warn!(policy, "the API server made something else of a policy");
    }
    Ok(replaced.metadata.resource_version)
}

async fn patch<P: Serialize + Debug>(
    api: &Api<DynamicObject>,
    name: &str,
    params: &PatchParams,
    patch: &Patch<P>,
) -> Result<DynamicObject, String> {
    match tokio::time::timeout(PATIENCE, api.patch(name, params, patch)).await {
        Ok(done) => done.map_err(|error| chain(&error)),
        Err(_) => Err(silent()),
    }
}

/// Takes a policy away, only as it was seen to be ours: nothing that somebody else makes of it meanwhile. Whether it did:
/// one that is gone already, or has changed, is left to the watch.
pub(super) async fn delete(client: &Client, resource: &ApiResource, key: &Key, ours: Ours) -> Result<bool, String> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), key.1.as_str(), resource);
    let of = Preconditions { uid: Some(ours.uid), resource_version: Some(ours.version) };
    let params = DeleteParams { preconditions: Some(of), ..DeleteParams::default() };
    match tokio::time::timeout(PATIENCE, api.delete(&key.2, &params)).await {
        Ok(Ok(_)) => Ok(true),
        Ok(Err(error)) if is_answer(&error, 404) || is_answer(&error, 409) => Ok(false),
        Ok(Err(error)) => Err(chain(&error)),
        Err(_) => Err(silent()),
    }
}

pub(super) fn silent() -> String {
    format!("no answer from the API server in {} s", PATIENCE.as_secs())
}
