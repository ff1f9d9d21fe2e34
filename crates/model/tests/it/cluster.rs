//! A cluster on paper: Kubernetes objects as an API server sends them, read into a world.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use fairlead_model::read;
use fairlead_model::world::Key;
use fairlead_model::{Fact, Label, NotebookId, Person, PublicKey, World};
use serde_json::{Value, json};

/// A world that is fed with objects.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) world: World,
    keys: Vec<Key>,
}

/// An Ed25519 public key that is different for each number.
pub(crate) fn key(number: u8) -> PublicKey {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[number; 32]);
    let data = ssh_key::public::KeyData::Ed25519(pair.public);
    PublicKey::from_data(&data).unwrap()
}

pub(crate) fn person(name: &str) -> Person {
    Person::parse(&format!("{name}@example.com")).unwrap()
}

pub(crate) fn id(namespace: &str, name: &str) -> NotebookId {
    NotebookId::parse(namespace, name).unwrap()
}

impl Cluster {
    /// Reads one object, of whatever kind it says it is.
    pub(crate) fn see(&mut self, object: &Value) -> &mut Self {
        let fact = fact(object).unwrap_or_else(|| panic!("not a fact: {object}"));
        self.world.apply(fact);
        self
    }

    /// Learns that an object is gone.
    pub(crate) fn lose(&mut self, object: &Value) -> &mut Self {
        self.world.apply(read::gone(fact(object).unwrap()));
        self
    }

    /// A Profile and its namespace.
    pub(crate) fn profile(&mut self, name: &str, owner: &str) -> &mut Self {
        self.see(&profile(name, owner)).see(&namespace(name, owner, &json!({})))
    }

    /// A Notebook with its StatefulSet and a running Pod at `ip`.
    pub(crate) fn notebook(&mut self, namespace: &str, name: &str, ip: &str) -> &mut Self {
        self.see(&notebook(namespace, name, &json!({})));
        self.see(&stateful_set(namespace, name));
        self.see(&pod(namespace, &format!("{name}-0"), &format!("set-{namespace}-{name}"), ip))
    }

    /// The namespaces where an admin of Fairlead switched SSH off, and no others.
    pub(crate) fn switched_off(&mut self, namespaces: &[&str]) -> &mut Self {
        let off = namespaces.iter().map(|name| Label::parse(name).unwrap()).collect();
        self.world.apply(Fact::Switches(off));
        self
    }

    /// These confirmed keys and no others, by whose they are and their numbers.
    pub(crate) fn keys<'a>(&mut self, all: impl Iterator<Item = (&'a str, u8)>) {
        self.keys = all.map(|(name, number)| Key { person: person(name), public: key(number) }).collect();
        self.world.apply(Fact::Keys(self.keys.clone(), [].into()));
    }

    /// A confirmed key.
    pub(crate) fn key(&mut self, name: &str, number: u8) -> &mut Self {
        self.keys.push(Key { person: person(name), public: key(number) });
        self.world.apply(Fact::Keys(self.keys.clone(), [].into()));
        self
    }
}

fn fact(object: &Value) -> Option<Fact> {
    fn typed<T: serde::de::DeserializeOwned>(object: &Value) -> T {
        serde_json::from_value(object.clone()).unwrap()
    }
    match object["kind"].as_str().unwrap() {
        "Profile" => read::profile(&typed(&object["metadata"]), object),
        "Notebook" => read::notebook(&typed(&object["metadata"]), object),
        "Namespace" => read::namespace(&typed(object)),
        "RoleBinding" => read::role_binding(&typed(object)),
        "StatefulSet" => read::stateful_set(&typed(object)),
        "Pod" => read::pod(&typed(object)),
        "Node" => read::node(&typed(object)),
        "Service" => read::service(&typed(object)),
        other => panic!("no kind {other}"),
    }
}

pub(crate) fn profile(name: &str, owner: &str) -> Value {
    json!({"kind": "Profile", "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": format!("{owner}@example.com")}}})
}

pub(crate) fn namespace(name: &str, owner: &str, labels: &Value) -> Value {
    json!({"kind": "Namespace", "metadata": {"name": name, "labels": labels,
        "annotations": {"owner": format!("{owner}@example.com")}}})
}

/// As Kubeflow's access management writes it.
pub(crate) fn binding(namespace: &str, person: &str, role: &str) -> Value {
    let user = format!("{person}@example.com");
    json!({"kind": "RoleBinding",
        "metadata": {"name": format!("user-{person}-example-com-clusterrole-{role}"), "namespace": namespace,
            "annotations": {"user": user, "role": role}},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": format!("kubeflow-{role}")},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]})
}

pub(crate) fn notebook(namespace: &str, name: &str, annotations: &Value) -> Value {
    json!({"kind": "Notebook", "metadata": {"name": name, "namespace": namespace, "annotations": annotations,
        "uid": format!("nb-{namespace}-{name}")}})
}

pub(crate) fn stateful_set(namespace: &str, name: &str) -> Value {
    let owner = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "name": name, "controller": true,
        "uid": format!("nb-{namespace}-{name}")});
    json!({"kind": "StatefulSet", "metadata": {"name": name, "namespace": namespace,
        "uid": format!("set-{namespace}-{name}"), "ownerReferences": [owner]},
        "spec": {"selector": {}, "serviceName": "", "template": {}}})
}

pub(crate) fn pod(namespace: &str, name: &str, set: &str, ip: &str) -> Value {
    let owner = json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "any", "controller": true, "uid": set});
    json!({"kind": "Pod", "metadata": {"name": name, "namespace": namespace, "uid": format!("pod-{namespace}-{name}"),
        "labels": {"notebook-name": name.trim_end_matches("-0")}, "ownerReferences": [owner]},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": ip, "hostIP": "192.168.0.1",
            "conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]}})
}
