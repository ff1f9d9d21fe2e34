//! The Secret `fairlead-gateway`: what gateways show that may know neither host CA nor master secret.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_model::Time;
use fairlead_model::gateway_identity::{GatewayIdentity, SECRET};
use fairlead_model::plan::mesh::GATEWAY_LABEL;
use fairlead_model::plan::{MANAGER, TOUCHED};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::deliver::touch;
use crate::identity_store::Identity;

/// How often it is looked at whether the certificate has to be renewed.
const RENEW: Duration = Duration::from_hours(1);
/// After a failure.
const RETRY: Duration = Duration::from_secs(5);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps it as it should be, for ever: written again every `resync` and whenever it changes.
pub async fn keep(
    client: Client,
    namespace: String,
    mut identity: watch::Receiver<Arc<Identity>>,
    resync: Duration,
    now: fn() -> Time,
) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let mut written: Option<(GatewayIdentity, Instant)> = None;
    let mut said = String::new();
    loop {
        let wanted = identity.borrow_and_update().for_gateways(now())?;
        let there = written.as_ref().is_some_and(|(last, at)| *last == wanted && at.elapsed() < resync);
        let mut pause = resync.min(RENEW);
        if !there {
            match apply_in_time(&secrets, &wanted.secret(&namespace)).await {
                Ok(version) => {
                    said.clear();
                    if let Err(error) = touch_gateways(&client, &namespace, &version).await {
                        // The kubelet looks by itself too, a minute or two later.
                        tracing::warn!("gateways get their identity late: {error:#}");
                    }
                    written = Some((wanted, Instant::now()));
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    if why != said {
                        tracing::error!("gateways get no new identity: {why}");
                        said = why;
                    }
                    pause = RETRY;
                }
            }
        }
        if let Ok(Err(_)) = timeout(pause, identity.changed()).await {
            // Nobody follows the CA any more; the certificate is renewed all the same.
            tokio::time::sleep(pause).await;
        }
    }
}

/// Makes kubelets bring this version of the Secret into gateways now: one that started before it was there would wait.
async fn touch_gateways(client: &Client, namespace: &str, version: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let gateways = ListParams::default().labels(&format!("{GATEWAY_LABEL}=true"));
    let silent = || format!("no answer from the API server in {} s", PATIENCE.as_secs());
    let found = timeout(PATIENCE, pods.list_metadata(&gateways)).await.with_context(silent)?;
    for pod in found.context("looking for the gateways' Pods")? {
        if pod.annotations().get(TOUCHED).is_none_or(|touched| touched != version) {
            let name = pod.name_any();
            touch(client, namespace, &name, version).await.with_context(|| format!("touching the Pod `{name}`"))?;
        }
    }
    Ok(())
}

/// Its version from now on.
async fn apply_in_time(secrets: &Api<Secret>, secret: &Secret) -> Result<String> {
    let silent = || format!("no answer from the API server in {} s", PATIENCE.as_secs());
    timeout(PATIENCE, apply(secrets, secret)).await.with_context(silent)?
}

async fn apply(secrets: &Api<Secret>, secret: &Secret) -> Result<String> {
    let found = secrets.get_metadata_opt(SECRET).await.context("looking for the Secret of gateways")?;
    if let Some(found) = found
        && found.labels().get("app.kubernetes.io/managed-by").map(String::as_str) != Some(MANAGER)
    {
        let namespace = secret.namespace().unwrap_or_default();
        bail!(
            "a Secret `{namespace}/{SECRET}` is there which Fairlead did not make\n\
             hint: kubectl delete secret -n {namespace} {SECRET}"
        );
    }
    let params = PatchParams::apply(MANAGER).force();
    let written =
        secrets.patch(SECRET, &params, &Patch::Apply(secret)).await.context("writing the Secret of gateways")?;
    Ok(written.resource_version().unwrap_or_default())
}
