//! A real API server with a profile's objects, made as people's controllers would, and Fairlead's parts on it, with
//! the rights that its manifests give it and no others.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use fairlead_lab::apiserver;
use fairlead_lab::control_plane::ControlPlane;
use fairlead_model::{NotebookId, Person, PublicKey, World};
use fairlead_server::clock;
use fairlead_server::rights::{Scope, rights_of};
use fairlead_server::settings::Part;
use fairlead_server::store::Store;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use self::running::{Options, Output, Running};
use crate::databases::Database;

/// The namespace of Fairlead itself.
pub(crate) const SYSTEM: &str = "fairlead-system";
/// Nothing here takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// An API server with its administrator, Fairlead's ServiceAccount and a database.
pub(crate) struct Cluster {
    pub(crate) plane: ControlPlane,
    pub(crate) admin: Client,
    /// Fairlead's own client.
    pub(crate) own: Client,
    pub(crate) store: Store,
    pub(crate) database: Database,
}

impl Cluster {
    /// A new one, on SQLite.
    pub(crate) async fn start() -> Self {
        Self::on(Database::sqlite()).await
    }

    /// A new one.
    pub(crate) async fn on(database: Database) -> Self {
        let plane = ControlPlane::start().await.unwrap();
        let admin = plane.client().await.unwrap();
        let user = format!("system:serviceaccount:{SYSTEM}:fairlead");
        let own = apiserver::client_as(&plane.kubeconfig, Some(&user)).await.unwrap();
        let store = database.open().await;
        let cluster = Self { plane, admin, own, store, database };
        cluster.namespace(SYSTEM, None).await;
        cluster.grant_to("fairlead", &[Part::Operator, Part::Webhook]).await;
        cluster
    }

    /// The database's URL.
    pub(crate) fn url(&self) -> String {
        self.database.url().to_owned()
    }

    /// Gives a ServiceAccount the rights of the server's own table that these parts need, as RBAC has them; its user.
    pub(crate) async fn grant_to(&self, account: &str, parts: &[Part]) -> String {
        let rules = |scope: Scope| -> Value {
            let rights = rights_of(parts).filter(|right| right.scope == scope);
            let rules = rights.map(|right| {
                json!({"apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs,
                    "resourceNames": right.names})
            });
            rules.collect()
        };
        let subjects = json!([{"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}]);
        let group = "rbac.authorization.k8s.io";
        let meta = json!({"name": account});
        self.apply(
            None,
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": meta,
            "rules": rules(Scope::Cluster)}),
        )
        .await;
        self.apply(
            None,
            json!({"apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": account}, "subjects": subjects}),
        )
        .await;
        self.apply(
            Some(SYSTEM),
            json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": meta,
            "rules": rules(Scope::Own)}),
        )
        .await;
        self.apply(
            Some(SYSTEM),
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": account}, "subjects": subjects}),
        )
        .await;
        format!("system:serviceaccount:{SYSTEM}:{account}")
    }

    /// Makes any object, or changes it.
    pub(crate) async fn apply(&self, namespace: Option<&str>, object: Value) -> DynamicObject {
        let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object["apiVersion"].as_str().unwrap()),
        };
        let kind = object["kind"].as_str().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.admin.clone(), namespace, &resource),
            None => Api::all_with(self.admin.clone(), &resource),
        };
        let name = object["metadata"]["name"].as_str().unwrap();
        let params = PatchParams::apply("test").force();
        api.patch(name, &params, &Patch::Apply(&object)).await.unwrap()
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.admin.clone(), namespace)
    }

    pub(crate) fn notebooks(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", "v1", "Notebook"));
        Api::namespaced_with(self.admin.clone(), namespace, &resource)
    }

    pub(crate) async fn namespace(&self, name: &str, owner: Option<&str>) {
        let annotations: BTreeMap<&str, &str> = owner.map(|owner| ("owner", owner)).into_iter().collect();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}});
        self.apply(None, namespace).await;
    }

    /// A Profile and its namespace.
    pub(crate) async fn profile(&self, name: &str, owner: &str) {
        self.namespace(name, Some(owner)).await;
        self.apply(
            None,
            json!({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": name},
            "spec": {"owner": {"kind": "User", "name": owner}}}),
        )
        .await;
    }

    /// A contributor as Kubeflow writes one.
    pub(crate) async fn contributor(&self, namespace: &str, name: &str, user: &str, role: &str) {
        self.binding(namespace, name, &[user], user, role, role).await;
    }

    /// A RoleBinding with whatever in it.
    pub(crate) async fn binding(
        &self,
        namespace: &str,
        name: &str,
        subjects: &[&str],
        user: &str,
        role: &str,
        role_ref: &str,
    ) {
        let group = "rbac.authorization.k8s.io";
        let subjects: Vec<Value> =
            subjects.iter().map(|user| json!({"apiGroup": group, "kind": "User", "name": user})).collect();
        self.apply(
            Some(namespace),
            json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding",
            "metadata": {"name": name, "annotations": {"user": user, "role": role}},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": format!("kubeflow-{role_ref}")},
            "subjects": subjects}),
        )
        .await;
    }

    /// A Notebook; its UID.
    pub(crate) async fn notebook(&self, namespace: &str, name: &str) -> String {
        let container = json!({"name": name, "image": "any"});
        let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "metadata": {"name": name},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        self.apply(Some(namespace), notebook).await.uid().unwrap()
    }

    /// The StatefulSet that Kubeflow makes of a Notebook; its UID.
    pub(crate) async fn stateful_set(&self, namespace: &str, name: &str, notebook: &str) -> String {
        let labels = json!({"statefulset": name});
        let template =
            json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": name, "image": "any"}]}});
        let set = json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
            "metadata": {"name": name, "ownerReferences": [owner("kubeflow.org/v1", "Notebook", name, notebook)]},
            "spec": {"serviceName": name, "selector": {"matchLabels": labels}, "template": template}});
        self.apply(Some(namespace), set).await.uid().unwrap()
    }

    /// A Pod that runs at an address; its UID. `change` may forge it before it is made.
    pub(crate) async fn pod(
        &self,
        namespace: &str,
        pod: &str,
        notebook: &str,
        set: Option<&str>,
        ip: &str,
        change: impl FnOnce(&mut Value),
    ) -> String {
        let owners: Vec<Value> = set.map(|uid| owner("apps/v1", "StatefulSet", notebook, uid)).into_iter().collect();
        let mut object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "labels": {"notebook-name": notebook, "statefulset": notebook},
                "ownerReferences": owners},
            "spec": {"containers": [{"name": notebook, "image": "any"}]}});
        change(&mut object);
        let pods: Api<Pod> = self.api(namespace);
        let made = pods.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let status = json!({"status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
            "conditions": [{"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": notebook, "image": "any", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}});
        pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        made.uid().unwrap()
    }

    /// A notebook with StatefulSet and a Pod that has its Secret mounted; the Notebook's UID.
    pub(crate) async fn running_notebook(&self, namespace: &str, name: &str, ip: &str) -> String {
        let uid = self.notebook(namespace, name).await;
        let set = self.stateful_set(namespace, name, &uid).await;
        self.pod(namespace, &format!("{name}-0"), name, Some(&set), ip, mounted).await;
        uid
    }

    /// A confirmed key of a person.
    pub(crate) async fn key(&self, person: &str) -> PublicKey {
        let key = new_key(person);
        self.store.add_key(&who(person), &key, "", clock::now()).await.unwrap();
        key
    }

    pub(crate) async fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.api::<Secret>(namespace).get_opt(name).await.unwrap()
    }

    pub(crate) async fn delete<K>(&self, namespace: &str, name: &str)
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let now = DeleteParams::default().grace_period(0);
        self.api::<K>(namespace).delete(name, &now).await.unwrap();
    }

    /// The reasons of all Events in a namespace, with repetitions.
    pub(crate) async fn events(&self, namespace: &str) -> Vec<String> {
        let events = self.api::<Event>(namespace).list(&ListParams::default()).await.unwrap();
        let mut reasons = Vec::new();
        for event in events {
            let times = event.series.as_ref().map_or(1, |series| series.count);
            (0..times).for_each(|_| reasons.push(event.reason.clone().unwrap_or_default()));
        }
        reasons.sort();
        reasons
    }
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never so: {what}"))
}

/// Gives a Pod the mount that the webhook would.
pub(crate) fn mounted(pod: &mut Value) {
    let notebook = pod["metadata"]["labels"]["notebook-name"].as_str().unwrap().to_owned();
    let secret = json!({"secretName": format!("fairlead-{notebook}"), "optional": true});
    pod["spec"]["volumes"] = json!([{"name": "fairlead-ssh", "secret": secret}]);
    let mount = json!({"name": "fairlead-ssh", "mountPath": "/var/run/secrets/fairlead"});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([mount]);
}

pub(crate) fn owner(api_version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true})
}

pub(crate) fn who(name: &str) -> Person {
    Person::parse(name).unwrap()
}

pub(crate) fn id(namespace: &str, name: &str) -> NotebookId {
    NotebookId::parse(namespace, name).unwrap()
}

/// The people who open shells in a profile.
pub(crate) fn people(world: &World, namespace: &str) -> BTreeSet<String> {
    let id = id(namespace, "any");
    let people = world.people_of(&id.namespace).into_iter();
    people.filter(|(_, role)| role.opens_shells()).map(|(person, _)| person.to_string()).collect()
}

/// A key of its own for each name.
pub(crate) fn new_key(name: &str) -> PublicKey {
    let mut seed = [0; 32];
    name.bytes().zip(&mut seed).for_each(|(byte, place)| *place = byte);
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&seed);
    PublicKey::from_data(&ssh_key::public::KeyData::Ed25519(pair.public)).unwrap()
}
