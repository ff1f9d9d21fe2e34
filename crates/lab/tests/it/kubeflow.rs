//! The stand-in for Kubeflow's controllers at work in the cluster: from a Profile and a Notebook to a Pod, and back.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::SystemTime;

use fairlead_lab::cluster::Cluster;
use fairlead_lab::images;
use k8s_openapi::api::core::v1::{self, Pod, Service, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{curl, within};

/// A Profile that goes with this value.
struct Team {
    name: String,
    client: Client,
    cluster: Cluster,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_becomes_a_namespace_and_a_notebook_a_pod_that_stops_and_starts() {
    let team = Team::new("bert@example.com").await;
    let spaces: Api<v1::Namespace> = Api::all(team.client.clone());
    let accounts: Api<ServiceAccount> = team.api();
    let bindings: Api<RoleBinding> = team.api();

    let admin = async || bindings.get_opt("namespaceAdmin").await.unwrap();
    let (admin, _) = within(20, "the owner's RoleBinding", admin).await;
    assert_eq!(admin.role_ref.name, "kubeflow-admin");
    assert_eq!(admin.subjects.unwrap()[0].name, "bert@example.com");
    let space = spaces.get(&team.name).await.unwrap().metadata;
    assert_eq!(space.annotations.unwrap()["owner"], "bert@example.com");
    let labels = space.labels.unwrap();
    assert_eq!(labels["istio-injection"], "enabled");
    assert_eq!(labels["app.kubernetes.io/part-of"], "kubeflow-profile");
    for name in ["default-editor", "default-viewer"] {
        assert!(accounts.get_opt(name).await.unwrap().is_some(), "{name}");
    }

    let notebooks: Api<DynamicObject> = team.api_of("v1", "Notebook");
    let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
        "metadata": {"name": "ml", "labels": {"colour": "blue"}},
        "spec": {"template": {"spec": {"serviceAccountName": "default-editor",
            "containers": [{"name": "ml", "image": images::NOTEBOOK}]}}}});
    notebooks.create(&PostParams::default(), &serde_json::from_value(notebook).unwrap()).await.unwrap();

    let pods: Api<Pod> = team.api();
    let pod = running(&pods).await;
    let labels = pod.metadata.labels.unwrap();
    for (name, value) in [("statefulset", "ml"), ("notebook-name", "ml"), ("colour", "blue")] {
        assert_eq!(labels[name], value);
    }
    let spec = pod.spec.unwrap();
    assert_eq!(spec.security_context.unwrap().fs_group, Some(100));
    let prefix = format!("/notebook/{}/ml", team.name);
    let env = spec.containers[0].env.clone().unwrap();
    assert!(env.iter().any(|one| one.name == "NB_PREFIX" && one.value.as_deref() == Some(&prefix)), "{env:?}");

    // By its Service, as the ingress reaches it: the mapping of ClusterIPs works, by kube-proxy or without.
    let services: Api<Service> = team.api();
    let address = services.get("ml").await.unwrap().spec.unwrap().cluster_ip.unwrap();
    let url = format!("http://{address}{prefix}/");
    let answers = async || curl(&["--max-time", "2", &url]).out.starts_with("HTTP/1.1 200").then_some(());
    within(30, "the notebook answers by its Service", answers).await;
    let ready = async || (notebooks.get("ml").await.unwrap().data["status"]["readyReplicas"] == json!(1)).then_some(());
    within(20, "the Notebook's status says ready", ready).await;

    annotate(&notebooks, &json!("2026-01-01T00:00:00Z")).await;
    let gone = async || pods.get_opt("ml-0").await.unwrap().is_none().then_some(());
    within(60, "the stopped Notebook has no Pod", gone).await;
    assert!(notebooks.get_opt("ml").await.unwrap().is_some());
    annotate(&notebooks, &Value::Null).await;
    running(&pods).await;
}

async fn annotate(notebooks: &Api<DynamicObject>, stopped: &Value) {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {"kubeflow-resource-stopped": stopped}}}));
    notebooks.patch("ml", &PatchParams::default(), &patch).await.unwrap();
}

async fn running(pods: &Api<Pod>) -> Pod {
    let running = async || {
        let pod = pods.get_opt("ml-0").await.unwrap()?;
        (pod.status.as_ref()?.phase.as_deref()? == "Running").then_some(pod)
    };
    within(60, "the Notebook's Pod runs", running).await.0
}

impl Team {
    async fn new(owner: &str) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let client = cluster.client().await.unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let team = Self { name: format!("it-team-{now}"), client, cluster };
        let profile = json!({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": team.name},
            "spec": {"owner": {"kind": "User", "name": owner}}});
        let profile = serde_json::from_value(profile).unwrap();
        profiles(&team.client).create(&PostParams::default(), &profile).await.unwrap();
        team
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.name)
    }

    fn api_of(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", version, kind));
        Api::namespaced_with(self.client.clone(), &self.name, &kind)
    }
}

fn profiles(client: &Client) -> Api<DynamicObject> {
    Api::all_with(client.clone(), &ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", "v1", "Profile")))
}

impl Drop for Team {
    /// Best effort, as for other namespaces of tests.
    fn drop(&mut self) {
        let (cluster, name) = (self.cluster.clone(), self.name.clone());
        let end = async move {
            profiles(&cluster.client().await?).delete(&name, &DeleteParams::default()).await?;
            anyhow::Ok(())
        };
        let _ = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(end)).join();
    }
}
