//! The profile controller: watches Profiles and what belongs to them, and brings both in line.
//!
//! Follows `Reconcile` and `SetupWithManager` of upstream's `profile_controller.go`, in its order.

use std::{fmt::Debug, sync::Arc};

use anyhow::Context as _;
use futures::Stream;
use k8s_openapi::{
    api::{
        core::v1::{Namespace, ResourceQuota, ServiceAccount},
        rbac::v1::RoleBinding,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{DeleteParams, DynamicObject, PostParams},
    runtime::{
        Controller,
        controller::{Action, Error},
        reflector::ObjectRef,
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Profile, add_labels, namespace, owner_binding, owner_policy, quota, refusal, resource, service_accounts};
use crate::kubeflow::{
    EverySecond, Failed, again, policy,
    settle::{controlled_by, settle},
};

const FINALIZER: &str = "profile-finalizer";

/// The controller's passes, as long as they are polled.
pub(in crate::kubeflow) fn reconciliations(
    client: &Client,
) -> impl Stream<Item = Result<(ObjectRef<DynamicObject>, Action), Error<Failed, watcher::Error>>> + use<> {
    let everything = watcher::Config::default;
    let all = || client.clone();
    let policies: Api<DynamicObject> = Api::all_with(all(), &policy::resource());
    Controller::new_with(Api::all_with(all(), &resource()), everything(), resource())
        .watches(Api::<Namespace>::all(all()), everything(), |made| owner(&made))
        .watches(Api::<ServiceAccount>::all(all()), everything(), |made| owner(&made))
        .watches(Api::<RoleBinding>::all(all()), everything(), |made| owner(&made))
        .watches_with(policies, policy::resource(), everything(), |made| owner(&made))
        .trigger_backoff(EverySecond)
        .run(reconcile, again, Arc::new(all()))
}

/// The Profile an object belongs to. kube's own mapping would add the object's namespace, and so
/// make two of a Profile that has none.
fn owner<K: Resource>(made: &K) -> Option<ObjectRef<DynamicObject>> {
    let owners = made.meta().owner_references.iter().flatten();
    let mut profiles = owners.filter_map(|owner| ObjectRef::from_owner_ref(None, owner, resource()));
    profiles.next()
}

async fn reconcile(object: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, Failed> {
    match Profile::parse(&object) {
        Ok(profile) => bring_in_line(&object, &profile, &client).await?,
        Err(error) => tracing::warn!(profile = object.name_any(), error = format!("{error:#}"), "profile skipped"),
    }
    Ok(Action::await_change())
}

async fn bring_in_line(object: &DynamicObject, profile: &Profile, client: &Client) -> anyhow::Result<()> {
    let profiles: Api<DynamicObject> = Api::all_with(client.clone(), &resource());
    let owner = controlled_by(object)?;

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let mut refused = None;
    settle(&namespaces, &owned(&owner, namespace(profile)), |_, found| {
        refused = refusal(profile, found);
        refused.is_none() && add_labels(found)
    })
    .await?;
    if let Some(message) = refused {
        return refuse(&profiles, object, &message).await;
    }
    grant(profile, &owner, client).await?;
    limit(profile, &owner, client).await?;
    finalize(&profiles, object).await
}

/// Policy, accounts and bindings. Of what is there, only the part that grants is set right again.
async fn grant(profile: &Profile, owner: &OwnerReference, client: &Client) -> anyhow::Result<()> {
    let policies = Api::namespaced_with(client.clone(), &profile.name, &policy::resource());
    settle(&policies, &owned(owner, owner_policy(profile)), |wanted, found: &mut DynamicObject| {
        let differs = found.data["spec"] != wanted.data["spec"];
        found.data["spec"] = wanted.data["spec"].clone();
        differs
    })
    .await?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &profile.name);
    for (account, binding) in service_accounts(profile) {
        settle(&accounts, &owned(owner, account), |_, _| false).await?;
        bind(owned(owner, binding), profile, client).await?;
    }
    bind(owned(owner, owner_binding(profile)), profile, client).await
}

async fn bind(binding: RoleBinding, profile: &Profile, client: &Client) -> anyhow::Result<()> {
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &profile.name);
    settle(&bindings, &binding, |wanted, found| {
        let differs = found.role_ref != wanted.role_ref || found.subjects != wanted.subjects;
        found.role_ref.clone_from(&wanted.role_ref);
        found.subjects.clone_from(&wanted.subjects);
        differs
    })
    .await?;
    Ok(())
}

async fn limit(profile: &Profile, owner: &OwnerReference, client: &Client) -> anyhow::Result<()> {
    let quotas: Api<ResourceQuota> = Api::namespaced(client.clone(), &profile.name);
    if let Some(quota) = quota(profile) {
        settle(&quotas, &owned(owner, quota), |wanted, found| {
            let differs = found.spec != wanted.spec;
            found.spec.clone_from(&wanted.spec);
            differs
        })
        .await?;
    } else if quotas.get_opt("kf-resource-quota").await.context("reading the quota")?.is_some() {
        let deleted = quotas.delete("kf-resource-quota", &DeleteParams::default()).await;
        deleted.context("deleting the quota")?;
    }
    Ok(())
}

/// Puts the refusal into the Profile's conditions as upstream does (`appendErrorConditionAndReturn`),
/// faults included: it writes the Profile, not its `status`, so an API server that keeps the two
/// apart drops the condition. Only the log tells.
async fn refuse(profiles: &Api<DynamicObject>, object: &DynamicObject, message: &str) -> anyhow::Result<()> {
    tracing::warn!(profile = object.name_any(), reason = message, "profile refused");
    let mut object = object.clone();
    let condition = json!({ "type": "Failed", "message": message });
    if let Some(conditions) = object.data["status"]["conditions"].as_array_mut() {
        conditions.push(condition);
    } else {
        object.data["status"]["conditions"] = json!([condition]);
    }
    write(profiles, &object).await
}

/// Adds the finalizer, or takes it away from a Profile that is being deleted. Its namespace goes
/// afterwards, by Kubernetes' own garbage collection.
async fn finalize(profiles: &Api<DynamicObject>, object: &DynamicObject) -> anyhow::Result<()> {
    let mut object = object.clone();
    let present = object.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let deleted = object.metadata.deletion_timestamp.is_some();
    match (deleted, present) {
        (false, false) => object.finalizers_mut().push(FINALIZER.to_owned()),
        (true, true) => object.finalizers_mut().retain(|finalizer| finalizer != FINALIZER),
        _ => return Ok(()),
    }
    write(profiles, &object).await
}

async fn write(profiles: &Api<DynamicObject>, object: &DynamicObject) -> anyhow::Result<()> {
    let written = profiles.replace(&object.name_any(), &PostParams::default(), object).await;
    written.context("writing the profile")?;
    Ok(())
}

fn owned<K>(owner: &OwnerReference, mut object: K) -> K
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    object.meta_mut().owner_references = Some(vec![owner.clone()]);
    object
}
