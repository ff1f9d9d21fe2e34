//! What the notebook controller makes of a Notebook: a `StatefulSet`, a Service, and a status.
//!
//! Follows `components/notebook-controller/controllers/notebook_controller.go` of kubeflow/notebooks,
//! branch `notebooks-v1`, with its settings at their defaults (`ADD_FSGROUP` on, `USE_ISTIO` off).
//! Upstream is compiled against Kubernetes 1.23 and loses newer Pod fields; this loses none it knows.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{
            Container, ContainerPort, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, Service, ServicePort,
            ServiceSpec,
        },
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};
use kube::{
    ResourceExt as _,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde::Deserialize as _;

pub(super) mod controller;
mod status;
#[cfg(test)]
mod tests;

pub use status::status;

/// The annotation that stops a Notebook by being there, whatever its value.
pub const STOPPED: &str = "kubeflow-resource-stopped";

/// A Notebook as far as its controller reads it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notebook {
    /// Its name, which is also its `StatefulSet`'s, its Service's and its main container's.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `spec.template.spec`: at least one container, and no first container with `ports: []`.
    pub pod: PodSpec,
}

impl Notebook {
    /// Reads a Notebook of any version.
    ///
    /// What is refused here makes upstream's controller panic: a Notebook without containers, or
    /// with an empty list of ports.
    pub fn parse(object: &DynamicObject) -> anyhow::Result<Self> {
        let pod = &object.data["spec"]["template"]["spec"];
        let pod = PodSpec::deserialize(pod).context("reading `spec.template.spec`")?;
        let first = pod.containers.first().context("the notebook has no container")?;
        let empty = first.ports.as_ref().is_some_and(Vec::is_empty);
        ensure!(!empty, "the first container has an empty list of ports");
        Ok(Self {
            name: object.name_any(),
            namespace: object.namespace().context("the notebook has no namespace")?,
            labels: object.labels().clone(),
            annotations: object.annotations().clone(),
            pod,
        })
    }
}

/// The Notebook's resource in the version its controller reads and writes.
#[must_use]
pub fn resource() -> ApiResource {
    let gvk = GroupVersionKind::gvk("kubeflow.org", "v1beta1", "Notebook");
    ApiResource::from_gvk_with_plural(&gvk, "notebooks")
}

/// The `StatefulSet` for a Notebook (`generateStatefulSet`).
///
/// The Notebook's labels are copied last, so a label `statefulset` on it breaks the selector; and
/// each annotation whose key contains `kubectl` or `notebook` anywhere is left out.
#[must_use]
pub fn stateful_set(notebook: &Notebook) -> StatefulSet {
    let Notebook { name, labels, annotations, .. } = notebook;
    let mut pod_labels = selector(name);
    pod_labels.insert("notebook-name".to_owned(), name.clone());
    pod_labels.extend(labels.clone());
    let copied = |key: &String| !key.contains("kubectl") && !key.contains("notebook");
    let pod_annotations = annotations.iter().filter(|(key, _)| copied(key));
    StatefulSet {
        metadata: metadata(notebook),
        spec: StatefulSetSpec {
            replicas: Some(i32::from(!annotations.contains_key(STOPPED))),
            selector: LabelSelector { match_labels: Some(selector(name)), ..LabelSelector::default() },
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(pod_labels),
                    annotations: Some(pod_annotations.map(|(key, value)| (key.clone(), value.clone())).collect()),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod(notebook)),
            },
            ..StatefulSetSpec::default()
        },
        status: None,
    }
}

/// The Service for a Notebook: only the first container's first port (`generateService`).
#[must_use]
pub fn service(notebook: &Notebook) -> Service {
    let first = notebook.pod.containers.first().and_then(|container| container.ports.as_ref());
    let target = first.and_then(|ports| ports.first()).map_or(8888, |port| port.container_port);
    Service {
        metadata: metadata(notebook),
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(selector(&notebook.name)),
            ports: Some(vec![ServicePort {
                name: Some(format!("http-{}", notebook.name)),
                port: 80,
                target_port: Some(IntOrString::Int(target)),
                protocol: Some("TCP".to_owned()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// Takes over a `StatefulSet` that is there (`CopyStatefulSetFields` in `reconcilehelper/util.go`).
///
/// Its fault: the Pod template's labels and annotations are not copied, so what was put on the
/// Notebook later never reaches its Pod. Its labels and annotations, in contrast, are wiped.
///
/// Always `true`: upstream compares with a template to which the server has added its defaults.
pub(super) fn take_over_stateful_set(wanted: &StatefulSet, found: &mut StatefulSet) -> bool {
    found.metadata.labels.clone_from(&wanted.metadata.labels);
    found.metadata.annotations.clone_from(&wanted.metadata.annotations);
    found.spec.replicas = wanted.spec.replicas;
    found.spec.template.spec.clone_from(&wanted.spec.template.spec);
    true
}

/// Takes over a Service that is there (`CopyServiceFields` in `reconcilehelper/util.go`).
///
/// Its fault: it never asks whose Service it is. A foreign one of the Notebook's name loses its
/// labels, annotations, selector and ports; its type and owner stay.
pub(super) fn take_over_service(wanted: &Service, found: &mut Service) -> bool {
    let before = found.clone();
    found.metadata.labels.clone_from(&wanted.metadata.labels);
    found.metadata.annotations.clone_from(&wanted.metadata.annotations);
    if let (Some(wanted), Some(found)) = (&wanted.spec, &mut found.spec) {
        found.selector.clone_from(&wanted.selector);
        found.ports.clone_from(&wanted.ports);
    }
    *found != before
}

fn metadata(notebook: &Notebook) -> ObjectMeta {
    ObjectMeta {
        name: Some(notebook.name.clone()),
        namespace: Some(notebook.namespace.clone()),
        ..ObjectMeta::default()
    }
}

fn selector(name: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("statefulset".to_owned(), name.to_owned())])
}

/// The Pod's spec with upstream's defaults for the first container.
fn pod(notebook: &Notebook) -> PodSpec {
    let mut pod = notebook.pod.clone();
    if let Some(container) = pod.containers.first_mut() {
        if container.working_dir.as_ref().is_none_or(String::is_empty) {
            container.working_dir = Some("/home/jovyan".to_owned());
        }
        container.ports.get_or_insert_with(|| {
            vec![ContainerPort {
                name: Some("notebook-port".to_owned()),
                container_port: 8888,
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        });
        add_prefix(container, &notebook.namespace, &notebook.name);
    }
    pod.security_context
        .get_or_insert_with(|| PodSecurityContext { fs_group: Some(100), ..PodSecurityContext::default() });
    pod
}

/// Tells Jupyter its path (`setPrefixEnvVar`). Its fault: a value already there stays, for upstream
/// assigns the right one to the loop's copy.
fn add_prefix(container: &mut Container, namespace: &str, name: &str) {
    let env = container.env.get_or_insert_default();
    if env.iter().all(|variable| variable.name != "NB_PREFIX") {
        env.push(EnvVar {
            name: "NB_PREFIX".to_owned(),
            value: Some(format!("/notebook/{namespace}/{name}")),
            value_from: None,
        });
    }
}
