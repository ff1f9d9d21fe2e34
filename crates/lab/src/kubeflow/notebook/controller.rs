//! The notebook controller: watches Notebooks and what belongs to them, and brings both in line.
//!
//! Follows `Reconcile` and `SetupWithManager` of upstream's `notebook_controller.go`.

use std::sync::Arc;

use anyhow::Context as _;
use futures::Stream;
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Pod, Service},
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DynamicObject, PostParams},
    runtime::{
        Controller,
        controller::{Action, Error},
        reflector::ObjectRef,
        watcher,
    },
};

use super::{
    Notebook, resource, service, stateful_set, status, status::same, take_over_service, take_over_stateful_set,
};
use crate::kubeflow::{
    EverySecond, Failed, again,
    settle::{controlled_by, settle},
};

/// The label by which a Pod wakes its Notebook, whoever made the Pod.
const NOTEBOOK_NAME: &str = "notebook-name";

/// The controller's passes, as long as they are polled.
pub(in crate::kubeflow) fn reconciliations(
    client: &Client,
) -> impl Stream<Item = Result<(ObjectRef<DynamicObject>, Action), Error<Failed, watcher::Error>>> + use<> {
    let everything = watcher::Config::default;
    let notebooks = Api::all_with(client.clone(), &resource());
    let labelled = everything().labels(NOTEBOOK_NAME);
    Controller::new_with(notebooks, everything(), resource())
        .owns(Api::<StatefulSet>::all(client.clone()), everything())
        .owns(Api::<Service>::all(client.clone()), everything())
        .watches(Api::<Pod>::all(client.clone()), labelled, |pod| of_pod(&pod))
        .trigger_backoff(EverySecond)
        .run(reconcile, again, Arc::new(client.clone()))
}

fn of_pod(pod: &Pod) -> Option<ObjectRef<DynamicObject>> {
    let name = pod.labels().get(NOTEBOOK_NAME)?;
    Some(ObjectRef::new_with(name, resource()).within(&pod.namespace()?))
}

async fn reconcile(object: Arc<DynamicObject>, client: Arc<Client>) -> Result<Action, Failed> {
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    match Notebook::parse(&object) {
        Ok(notebook) => bring_in_line(&object, &notebook, &client).await?,
        Err(error) => tracing::warn!(
            notebook = object.name_any(),
            namespace = object.namespace(),
            error = format!("{error:#}"),
            "notebook skipped, upstream's controller would crash"
        ),
    }
    Ok(Action::await_change())
}

async fn bring_in_line(object: &DynamicObject, notebook: &Notebook, client: &Client) -> anyhow::Result<()> {
    let namespace = &notebook.namespace;
    let owner = controlled_by(object)?;

    let mut wanted = stateful_set(notebook);
    wanted.metadata.owner_references = Some(vec![owner.clone()]);
    let stateful_sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    let stateful_set = settle(&stateful_sets, &wanted, take_over_stateful_set).await?;

    let mut wanted = service(notebook);
    wanted.metadata.owner_references = Some(vec![owner]);
    let services: Api<Service> = Api::namespaced(client.clone(), namespace);
    settle(&services, &wanted, take_over_service).await?;

    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = pods.get_opt(&format!("{}-0", notebook.name)).await.context("reading the pod")?;
    report(object, notebook, stateful_set.as_ref(), pod.as_ref(), client).await
}

async fn report(
    object: &DynamicObject,
    notebook: &Notebook,
    stateful_set: Option<&StatefulSet>,
    pod: Option<&Pod>,
    client: &Client,
) -> anyhow::Result<()> {
    // Kubernetes' times are whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).context("reading the clock")?;
    let status = status(notebook, stateful_set, pod, &Time(now));
    if same(&object.data["status"], &status) {
        return Ok(());
    }
    let mut object = object.clone();
    object.data["status"] = status;
    let notebooks: Api<DynamicObject> = Api::namespaced_with(client.clone(), &notebook.namespace, &resource());
    let written = notebooks.replace_status(&notebook.name, &PostParams::default(), &object).await;
    written.context("writing the notebook's status")?;
    Ok(())
}
