//! The peer of a cold start: the same Secrets by other names and the same touches, by a client that only sends them.

use std::time::Instant;

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::super::page::cast::{NOTEBOOKS, notebook, profile};

/// Of a profile's notebooks so many run with their Secret mounted.
pub(super) const TOUCHED: usize = 8;
/// As many requests at once as the operator has.
const AT_ONCE: usize = 8;

/// Writes all of it; in how many seconds.
pub(super) async fn write(client: &Client, profiles: usize) -> Result<f64> {
    let began = Instant::now();
    let all = (0..profiles).flat_map(|of| (0..NOTEBOOKS).map(move |number| (of, number)));
    let writes = stream::iter(all).map(|(of, number)| one(client, of, number)).buffer_unordered(AT_ONCE);
    writes.try_collect::<()>().await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn one(client: &Client, of: usize, number: usize) -> Result<()> {
    let (namespace, name) = (profile(of), notebook(number));
    let secret = format!("peer-{name}");
    let file = |bytes: usize| ByteString(vec![b'x'; bytes]);
    // As large as a notebook's: twenty keys of Ed25519, a private key, a public one, a certificate.
    let data = json!({"authorized_keys": file(2000), "ssh_host_ed25519_key": file(400),
        "ssh_host_ed25519_key.pub": file(81), "ssh_host_ed25519_key-cert.pub": file(640)});
    let object = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": data,
        "metadata": {"name": secret, "labels": {"app.kubernetes.io/managed-by": "peer", "fairlead.dev/notebook": name}}});
    let params = PatchParams::apply("peer");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    secrets.patch(&secret, &params, &Patch::Apply(object)).await.context("the peer's Secret")?;
    if number < TOUCHED {
        let touch = Patch::Merge(json!({"metadata": {"annotations": {"example.com/peer": "1234567"}}}));
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let pod = format!("{name}-0");
        pods.patch_status(&pod, &PatchParams::default(), &touch).await.context("the peer's touch")?;
    }
    Ok(())
}
