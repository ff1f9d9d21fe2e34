//! Create what is missing, take over what is there: the one move both controllers are made of.
//!
//! Follows upstream's `reconcilehelper/util.go` and the like-minded `update…` functions of
//! `profile_controller.go`.

use std::fmt::Debug;

use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{
    Api, Resource, ResourceExt as _,
    api::{DynamicObject, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};

/// The object as it stood before, after `take_over` had its way; `None` if it was only now created,
/// for upstream then goes on with an empty one.
///
/// `take_over` copies what the controller owns into what was found and says whether to write it
/// back. A write that changes nothing costs a request, but the server keeps the resource version
/// then, and nobody is woken by it.
pub(super) async fn settle<K>(
    api: &Api<K>,
    wanted: &K,
    take_over: impl FnOnce(&K, &mut K) -> bool,
) -> anyhow::Result<Option<K>>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = wanted.name_any();
    let what = || format!("`{name}` ({})", api.resource_url());
    let found = api.get_opt(&name).await;
    let Some(mut found) = found.with_context(|| format!("reading {}", what()))? else {
        let created = api.create(&PostParams::default(), wanted).await;
        created.with_context(|| format!("creating {}", what()))?;
        tracing::debug!(name, url = api.resource_url(), "created");
        return Ok(None);
    };
    if take_over(wanted, &mut found) {
        let written = api.replace(&name, &PostParams::default(), &found).await;
        found = written.with_context(|| format!("updating {}", what()))?;
    }
    Ok(Some(found))
}

/// Marks `object` as the controller of what it makes, as controller-runtime does.
pub(super) fn controlled_by(object: &DynamicObject) -> anyhow::Result<OwnerReference> {
    let types = object.types.clone().context("the object names no kind")?;
    Ok(OwnerReference {
        api_version: types.api_version,
        kind: types.kind,
        name: object.name_any(),
        uid: object.uid().context("the object has no uid")?,
        controller: Some(true),
        block_owner_deletion: Some(true),
    })
}

/// Whether a failure comes of somebody else having written or created the object in between.
pub(super) fn is_conflict(failure: &anyhow::Error) -> bool {
    let cause = failure.downcast_ref::<kube::Error>();
    matches!(cause, Some(kube::Error::Api(answer)) if answer.code == 409)
}
