//! Profiles, contributors and Notebooks, as the dashboard would make them for people.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::json;

use crate::images;
use crate::kubeflow::contributor::{Role, contributor};

/// A Profile, and waits for what Kubeflow makes of it.
pub async fn profile(client: &Client, name: &str, owner: &str) -> Result<()> {
    let profile = json!({"apiVersion": "kubeflow.org/v1", "kind": "Profile", "metadata": {"name": name},
        "spec": {"owner": {"kind": "User", "name": owner}}});
    let profiles: Api<DynamicObject> = Api::all_with(client.clone(), &kind("Profile"));
    profiles.patch(name, &params(), &Patch::Apply(profile)).await.context("creating a Profile")?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), name);
    until("the Profile's namespace", || async {
        Ok(namespaces.get_opt(name).await?.and(accounts.get_opt("default-editor").await?))
    })
    .await
    .map(drop)
}

/// A contributor.
pub async fn member(client: &Client, namespace: &str, user: &str, role: Role) -> Result<()> {
    let (binding, _) = contributor(namespace, user, role);
    let name = binding.metadata.name.clone().unwrap_or_default();
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    bindings.patch(&name, &params(), &Patch::Apply(binding)).await.context("adding a contributor")?;
    Ok(())
}

/// A Notebook with the lab's image.
pub async fn notebook(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"serviceAccountName": "default-editor",
            "containers": [{"name": name, "image": images::NOTEBOOK}]}}}});
    let notebooks: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind("Notebook"));
    notebooks.patch(name, &params(), &Patch::Apply(notebook)).await.context("creating the Notebook")?;
    Ok(())
}

/// The UID and the address of a Notebook's Pod, once it runs.
pub async fn pod(client: &Client, namespace: &str, notebook: &str) -> Result<(String, String)> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let name = format!("{notebook}-0");
    until("the Notebook's Pod", || async {
        let Some(pod) = pods.get_opt(&name).await? else { return Ok(None) };
        let status = pod.status.filter(|status| status.phase.as_deref() == Some("Running"));
        let ends = pod.metadata.deletion_timestamp.is_some();
        Ok(status.and_then(|status| status.pod_ip).filter(|_| !ends).zip(pod.metadata.uid).map(|(ip, uid)| (uid, ip)))
    })
    .await
}

/// One of Kubeflow's kinds, in the stored version.
#[must_use]
pub fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", "v1", kind))
}

fn params() -> PatchParams {
    PatchParams::apply("fairlead-demo").force()
}

/// Asks ten times a second, for two minutes.
async fn until<T, F: Future<Output = kube::Result<Option<T>>>>(what: &str, ask: impl Fn() -> F) -> Result<T> {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        if let Some(found) = ask().await.with_context(|| format!("looking for {what}"))? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("{what} did not appear in two minutes\nhint: make lab-status");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
