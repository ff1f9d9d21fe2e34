//! docs/install.md from its overlay to its last command: what it installs is gone afterwards, and nothing else is.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fairlead_lab::paths;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Options, eventually};

const DOCS: &str = include_str!("../../../../docs/install.md");

#[tokio::test(flavor = "multi_thread")]
async fn what_docs_install_md_installs_it_removes_and_leaves_the_notebooks_alone() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.key("ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "192.0.2.1").await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin.clone());
    let kinds = async || -> BTreeSet<String> {
        let all = definitions.list(&ListParams::default()).await.unwrap();
        all.into_iter().map(|kind| format!("{} {}", kind.name_any(), kind.uid().unwrap())).collect()
    };
    let kinds_before = kinds().await;
    let uids = async || {
        let notebook = cluster.notebooks("team-a").get("ml").await.unwrap().uid();
        let set = cluster.api::<k8s_openapi::api::apps::v1::StatefulSet>("team-a").get("ml").await.unwrap().uid();
        (notebook, set)
    };
    let uids_before = uids().await;

    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("kustomization.yaml"), overlay(folder.path())).unwrap();
    let install = commands("## 2. An overlay of your own");
    let install = install.into_iter().find(|line| line.starts_with("kubectl apply")).unwrap();
    run(&cluster, folder.path(), &install).await;
    let operator = cluster.operating(Options::default()).await;
    eventually("the Secret", async || cluster.secret("team-a", "fairlead-ml").await).await;
    let touched = async || {
        let pod = cluster.api::<Pod>("team-a").get("ml-0").await.unwrap();
        pod.annotations().contains_key("fairlead.dev/secret-version").then_some(())
    };
    eventually("the Pod is touched", touched).await;
    // Two policies as `check` proposes them.
    let spec = json!({"podSelector": {"matchLabels": {"notebook-name": "ml"}}});
    cluster.apply(Some("team-a"), proposed("networking.k8s.io/v1", "NetworkPolicy", &spec)).await;
    let spec = json!({"selector": {"matchLabels": {"notebook-name": "ml"}}});
    cluster.apply(Some("team-a"), proposed("security.istio.io/v1beta1", "AuthorizationPolicy", &spec)).await;
    let all = traces(&cluster.admin).await;
    for one in ["Deployment fairlead-system/fairlead", "Secret team-a/fairlead-ml", "ClusterRole /fairlead"] {
        assert!(all.contains(one), "no {one} in {all:#?}");
    }

    let controllers = tokio::spawn(end_what_ends(cluster.admin.clone()));
    let mut uninstall = commands("## Uninstall").into_iter();
    run(&cluster, folder.path(), &uninstall.next().unwrap()).await;
    // Its Pod went with the namespace.
    drop(operator);
    for command in uninstall {
        run(&cluster, folder.path(), &command).await;
    }
    controllers.abort();
    // What the text says is left until the notebook starts again, and Events, which end by themselves.
    let mut left = traces(&cluster.admin).await;
    left.retain(|trace| !trace.starts_with("Event "));
    assert_eq!(left, BTreeSet::from(["Pod team-a/ml-0".to_owned()]));
    assert_eq!(uids().await, uids_before);
    assert_eq!(kinds().await, kinds_before);
}

/// The overlay of the docs, with the path filled in; kustomize takes relative paths only.
fn overlay(folder: &Path) -> String {
    let (_, text) = DOCS.split_once("```yaml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let up = "../".repeat(folder.canonicalize().unwrap().components().count() - 1);
    let project = paths::project().canonicalize().unwrap();
    text.replace("PATH-TO", &format!("{up}{}", project.display().to_string().trim_start_matches('/')))
}

/// The commands in the code blocks of a section.
fn commands(heading: &str) -> Vec<String> {
    let (_, section) = DOCS.split_once(heading).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let commands: Vec<String> =
        section.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect();
    commands.into_iter().filter(|line| line.starts_with("kubectl ")).collect()
}

async fn run(cluster: &Cluster, folder: &Path, command: &str) {
    let command = command.replace("YOUR-FOLDER", &folder.display().to_string());
    let mut shell = Command::new("sh");
    shell.args(["-ec", &command]).env("KUBECONFIG", &cluster.plane.kubeconfig);
    let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&said));
}

fn proposed(version: &str, kind: &str, spec: &Value) -> Value {
    let labels = json!({"app.kubernetes.io/part-of": "fairlead"});
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "fairlead-ml", "labels": labels}, "spec": spec})
}

/// Every object that speaks of Fairlead anywhere but in its list of writers, of every kind that can be listed.
async fn traces(client: &Client) -> BTreeSet<String> {
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    let kinds = discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
    let mut traces = BTreeSet::new();
    for (resource, capabilities) in kinds {
        if !capabilities.supports_operation(verbs::LIST) {
            continue;
        }
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for mut object in api.list(&ListParams::default()).await.unwrap() {
            object.managed_fields_mut().clear();
            if serde_json::to_string(&object).unwrap().contains("fairlead") {
                let namespace = object.namespace().unwrap_or_default();
                traces.insert(format!("{} {namespace}/{}", resource.kind, object.name_any()));
            }
        }
    }
    traces
}

/// Does what the controllers of a cluster do with a namespace and a claim that are to go: a control plane has none.
async fn end_what_ends(client: Client) {
    loop {
        let namespaces: Api<Namespace> = Api::all(client.clone());
        for namespace in namespaces.list(&ListParams::default()).await.unwrap() {
            if namespace.metadata.deletion_timestamp.is_some() {
                end(&client, namespace).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn end(client: &Client, mut namespace: Namespace) {
    let name = namespace.name_any();
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &name);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    for claim in claims.list(&ListParams::default()).await.unwrap() {
        // It may have gone.
        let _ = claims.patch(&claim.name_any(), &PatchParams::default(), &free).await;
    }
    let discovery = Discovery::new(client.clone()).run().await.unwrap();
    for (resource, capabilities) in discovery.groups().flat_map(kube::discovery::ApiGroup::recommended_resources) {
        if capabilities.scope == Scope::Namespaced && capabilities.supports_operation("deletecollection") {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name, &resource);
            api.delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
        }
    }
    namespace.spec.get_or_insert_default().finalizers = Some(Vec::new());
    let body = serde_json::to_vec(&namespace).unwrap();
    let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"));
    let request = request.header("content-type", "application/json").body(body).unwrap();
    // Somebody may have changed it in between: then it is for the next round.
    let _ = client.request::<Namespace>(request).await;
}
