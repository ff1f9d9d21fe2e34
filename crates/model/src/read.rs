//! The border to the cluster: Kubernetes objects become facts here, or do not count.
//!
//! Fields that matter are read by what they are, never by what a namespace's people can write as they like.

pub mod mesh;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::{apps::v1 as apps, core::v1 as core, rbac::v1 as rbac};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::name::{Label, NotebookId};
use crate::person::{Person, Role};
use crate::plan::MOUNT;
use crate::time::Time;
use crate::world::{Fact, Member, Namespace, Notebook, Pod, Profile, StatefulSet, Switch};
use shown::shown;

/// Label or annotation that switches SSH.
pub const SSH_SWITCH: &str = "fairlead.dev/ssh";
/// Kubeflow's annotation on a Notebook that is stopped; its value is when.
pub const STOPPED: &str = "kubeflow-resource-stopped";

/// A Profile from its metadata and the rest of it.
#[must_use]
pub fn profile(meta: &ObjectMeta, data: &Value) -> Option<Fact> {
    let owner = &data["spec"]["owner"];
    let is_user = owner["kind"] == "User";
    let owner = owner["name"].as_str().filter(|_| is_user).and_then(|name| Person::parse(name).ok());
    Some(Fact::Profile(label(meta.name.as_deref())?, Some(Profile { owner })))
}

/// A namespace.
#[must_use]
pub fn namespace(namespace: &core::Namespace) -> Option<Fact> {
    let meta = &namespace.metadata;
    let owner = meta.annotations.as_ref().and_then(|all| all.get("owner")).and_then(|name| Person::parse(name).ok());
    Some(Fact::Namespace(
        label(meta.name.as_deref())?,
        Some(Namespace { owner, ssh: switch(meta), created: created(meta) }),
    ))
}

fn created(meta: &ObjectMeta) -> Time {
    Time(meta.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond()))
}

/// A RoleBinding. It makes a member only where subject and `user` annotation, role and `role` annotation agree, as
/// Kubeflow's access management writes them; its name says nothing (names collide), but that `namespaceAdmin` is the
/// owner's, who counts by the Profile alone.
#[must_use]
pub fn role_binding(binding: &rbac::RoleBinding) -> Option<Fact> {
    let meta = &binding.metadata;
    let name = meta.name.clone()?;
    let member = || {
        let annotations = meta.annotations.as_ref()?;
        let [subject] = binding.subjects.as_deref()? else { return None };
        let user = annotations.get("user")?;
        let role = Role::from_word(annotations.get("role")?)?;
        let role_ref = &binding.role_ref;
        let agree = subject.kind == "User"
            && subject.namespace.is_none()
            && &subject.name == user
            && role_ref.api_group.as_deref() == Some("rbac.authorization.k8s.io")
            && role_ref.kind == "ClusterRole"
            && role_ref.name == format!("kubeflow-{}", role.word());
        (agree && name != "namespaceAdmin").then_some(Member { person: Person::parse(user).ok()?, role })
    };
    Some(Fact::Member(label(meta.namespace.as_deref())?, name.clone(), member()))
}

/// A Notebook from its metadata and the rest of it.
#[must_use]
pub fn notebook(meta: &ObjectMeta, data: &Value) -> Option<Fact> {
    let id = NotebookId::parse(meta.namespace.as_deref()?, meta.name.as_deref()?).ok()?;
    let annotations = meta.annotations.as_ref();
    let stopped = annotations.is_some_and(|all| all.contains_key(STOPPED));
    let shown = shown(id.name.as_str(), meta, data);
    Some(Fact::Notebook(id, Some(Notebook { uid: meta.uid.clone()?, stopped, ssh: switch(meta), shown })))
}

/// A StatefulSet; it counts where a Notebook controls it.
#[must_use]
pub fn stateful_set(set: &apps::StatefulSet) -> Option<Fact> {
    let meta = &set.metadata;
    let namespace = label(meta.namespace.as_deref())?;
    let notebook = controller(meta, "Notebook", |group| group == "kubeflow.org");
    let counts = notebook.map(|notebook| StatefulSet { namespace, notebook });
    Some(Fact::StatefulSet(meta.uid.clone()?, counts))
}

/// A Pod; it counts where a StatefulSet controls it and it has a network of its own.
#[must_use]
pub fn pod(pod: &core::Pod) -> Option<Fact> {
    let meta = &pod.metadata;
    let (namespace, name) = (label(meta.namespace.as_deref())?, meta.name.clone()?);
    let counts = || {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        if spec.host_network == Some(true) {
            return None;
        }
        let host: Option<IpAddr> = status.and_then(|status| status.host_ip.as_deref()?.parse().ok());
        let ip: Option<IpAddr> = status.and_then(|status| status.pod_ip.as_deref()?.parse().ok());
        let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
        Some(Pod {
            uid: meta.uid.clone()?,
            stateful_set: controller(meta, "StatefulSet", |group| group == "apps")?,
            ip: ip.filter(|ip| Some(*ip) != host),
            ending: meta.deletion_timestamp.is_some() || matches!(phase, "Succeeded" | "Failed"),
            running: phase == "Running" && status.is_some_and(is_ready),
            mounted: mounted(spec),
        })
    };
    Some(Fact::Pod(namespace, name, counts()))
}

/// A node's addresses, which no Pod of its own can have.
#[must_use]
pub fn node(node: &core::Node) -> Option<Fact> {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.filter_map(|address| address.address.parse().ok()).collect();
    Some(Fact::Taken(format!("node {}", node.metadata.name.as_deref()?), addresses))
}

/// A Service's addresses, which no Pod can have.
#[must_use]
pub fn service(service: &core::Service) -> Option<Fact> {
    let meta = &service.metadata;
    let addresses: BTreeSet<IpAddr> = service
        .spec
        .iter()
        .flat_map(|spec| &spec.cluster_ips)
        .flatten()
        .filter_map(|address| address.parse().ok())
        .collect();
    Some(Fact::Taken(format!("service {}/{}", meta.namespace.as_deref()?, meta.name.as_deref()?), addresses))
}

/// The fact that an object is gone: the same with nothing in it.
#[must_use]
pub fn gone(fact: Fact) -> Fact {
    match fact {
        Fact::Profile(name, _) => Fact::Profile(name, None),
        Fact::Namespace(name, _) => Fact::Namespace(name, None),
        Fact::Member(namespace, name, _) => Fact::Member(namespace, name, None),
        Fact::Notebook(id, _) => Fact::Notebook(id, None),
        Fact::StatefulSet(uid, _) => Fact::StatefulSet(uid, None),
        Fact::Pod(namespace, name, _) => Fact::Pod(namespace, name, None),
        Fact::Taken(whose, _) => Fact::Taken(whose, BTreeSet::new()),
        Fact::Mesh(fact) => Fact::Mesh(mesh::gone(fact)),
        other @ (Fact::Keys(..) | Fact::Troubles(_) | Fact::Switches(_) | Fact::All(..)) => other,
    }
}

fn label(text: Option<&str>) -> Option<Label> {
    Label::parse(text?).ok()
}

fn switch(meta: &ObjectMeta) -> Switch {
    let maps = [&meta.labels, &meta.annotations];
    let words: Vec<&str> = maps.iter().filter_map(|map| Some(map.as_ref()?.get(SSH_SWITCH)?.as_str())).collect();
    match words.as_slice() {
        [] => Switch::Unset,
        all if all.iter().all(|word| *word == "enabled") => Switch::Enabled,
        _ => Switch::Disabled,
    }
}

/// Whether a Pod's own containers are ready; whatever else its readiness waits for is not the notebook's.
fn is_ready(status: &core::PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|it| matches!(it.type_.as_str(), "Ready" | "ContainersReady") && it.status == "True")
}

/// The UID of the controlling owner, if it is of this kind and group.
fn controller(meta: &ObjectMeta, kind: &str, of_group: impl Fn(&str) -> bool) -> Option<String> {
    let owners = meta.owner_references.as_deref()?;
    let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    (owner.kind == kind && of_group(group)).then(|| owner.uid.clone())
}

fn mounted(spec: &core::PodSpec) -> BTreeMap<String, String> {
    let secret_of = |volume: &str| {
        let volume = spec.volumes.iter().flatten().find(|other| other.name == volume)?;
        volume.secret.as_ref()?.secret_name.clone()
    };
    let mount_of = |container: &core::Container| {
        let mount = container.volume_mounts.iter().flatten().find(|mount| mount.mount_path == MOUNT)?;
        Some((container.name.clone(), secret_of(&mount.name)?))
    };
    spec.containers.iter().filter_map(mount_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    #[test]
    fn a_namespace_is_as_old_as_the_cluster_says() {
        let mut world = World::default();
        let team = Label::parse("team-a").unwrap();
        for (created, made) in [(Some("2026-01-01T00:00:01Z"), Some(Time(1_767_225_601_000))), (None, None)] {
            let object = serde_json::json!({"metadata": {"name": "team-a", "creationTimestamp": created}});
            world.apply(namespace(&serde_json::from_value(object).unwrap()).unwrap());
            assert_eq!(world.made(&team), made);
        }
    }
}
