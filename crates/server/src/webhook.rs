//! The mutating webhook: mounts a notebook's Secret when its Pod is made, and never keeps a Pod from being made.

pub mod certificate;
mod exclude;
mod limits;
mod mount;
pub mod registration;

pub(crate) use exclude::EXCLUDED;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router, middleware};
use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use fairlead_model::Time;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::{Api, Client};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::limited::Limited;
use crate::metrics::Metrics;
use certificate::Served;

/// A Pod is at most 1.5 MiB in etcd, and a review holds it with some words around it.
const BODY: usize = 4 * 1024 * 1024;
/// Connections that do not finish their handshake or their first request in time are dropped.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the webhook runs with.
pub struct Webhook {
    /// The cluster.
    pub client: Client,
    /// The namespace with the certificate's Secret.
    pub namespace: String,
    /// The hosts that the API server may know it by: [`service_name`], mostly.
    pub names: Vec<String>,
    /// How often certificate and configuration are looked after.
    pub look: Duration,
    /// Whether sshd's port is excluded from sidecars.
    pub exclude: bool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The clock.
    pub now: fn() -> Time,
}

/// The name of the webhook's Service, as the API server dials it.
#[must_use]
pub fn service_name(namespace: &str) -> String {
    format!("fairlead-webhook.{namespace}.svc")
}

impl Webhook {
    /// Serves until `stop`. It waits for an API server that does not answer yet, since the certificate is there.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<()> {
        let Some(first) = stop.run_until_cancelled(self.first_certificate()).await else { return Ok(()) };
        let tls = RustlsConfig::from_config(server_config(&first)?);
        let handle = Handle::new();
        let server = axum_server::from_tcp(listener)
            .context("listening for the webhook")?
            .acceptor(Limited::new(RustlsAcceptor::new(tls.clone()).handshake_timeout(PATIENCE), limits::CONNECTIONS))
            .first_request_timeout(PATIENCE)
            .handle(handle.clone())
            .serve(router(self.metrics.clone(), self.exclude).into_make_service());
        let ended = stop.clone();
        tokio::spawn(async move {
            ended.cancelled().await;
            handle.graceful_shutdown(Some(Duration::from_secs(2)));
        });
        tokio::spawn(async move { stop.run_until_cancelled(self.look_after(first, tls)).await });
        server.await.context("serving the webhook")
    }

    async fn first_certificate(&self) -> Served {
        loop {
            match certificate::current(&self.secrets(), &self.names, (self.now)()).await {
                Ok(served) => return served,
                Err(error) => tracing::warn!("no certificate for the webhook yet: {error:#}"),
            }
            tokio::time::sleep(Duration::from_secs(2).min(self.look)).await;
        }
    }

    /// Keeps the certificate fresh and trusted.
    async fn look_after(self, mut served: Served, tls: RustlsConfig) {
        let configurations: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let mut said = false;
        loop {
            match registration::trust(&configurations, &served.bundle).await {
                Ok(found) => {
                    if !found && !said {
                        tracing::warn!(
                            configuration = registration::NAME,
                            "the webhook's configuration is not there: no Pod gets its Secret until it is"
                        );
                    }
                    said = !found;
                }
                Err(error) => tracing::warn!("{error:#}"),
            }
            tokio::time::sleep(self.look).await;
            match certificate::current(&self.secrets(), &self.names, (self.now)()).await {
                Ok(now) if now != served => match server_config(&now) {
                    Ok(config) => {
                        // Trusted first, served then: the bundle has both.
                        if let Err(error) = registration::trust(&configurations, &now.bundle).await {
                            tracing::warn!("{error:#}");
                        }
                        tls.reload_from_config(config);
                        served = now;
                    }
                    Err(error) => tracing::error!("the webhook's new certificate: {error:#}"),
                },
                Ok(_) => {}
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn server_config(served: &Served) -> Result<Arc<ServerConfig>> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(served.certificate.as_bytes()).collect();
    let chain = chain.context("reading the webhook's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(served.key.as_bytes()).context("reading the webhook's key")?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().context("choosing versions of TLS")?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).context("using the certificate")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn router(metrics: Arc<Metrics>, exclude: bool) -> Router {
    let limit = middleware::from_fn_with_state(limits::requests(), limits::limit);
    let measure = middleware::from_fn_with_state(metrics, measure);
    Router::new()
        .route("/mutate", post(mutate))
        .with_state(exclude)
        .layer(DefaultBodyLimit::max(BODY))
        .layer(limit)
        .layer(measure)
}

/// How long each answer takes, with the time in which its body arrives.
async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let response = next.run(request).await;
    metrics.webhook_seconds.observe(begin.elapsed().as_secs_f64());
    response
}

async fn mutate(
    State(exclude): State<bool>,
    Json(review): Json<AdmissionReview<DynamicObject>>,
) -> Result<Json<AdmissionReview<DynamicObject>>, StatusCode> {
    let request: AdmissionRequest<DynamicObject> = review.try_into().map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Json(respond(&request, exclude).into_review()))
}

/// Always allows: with the patch, or as it is and a warning why.
fn respond(request: &AdmissionRequest<DynamicObject>, exclude: bool) -> AdmissionResponse {
    let response = AdmissionResponse::from(request);
    if request.operation != Operation::Create || request.kind.kind != "Pod" || request.sub_resource.is_some() {
        return response;
    }
    let namespace = request.namespace.as_deref().unwrap_or_default();
    let pod = request.object.as_ref().map_or(Ok(Value::Null), serde_json::to_value).unwrap_or_default();
    // A Pod that gets no Secret lets nobody in, whatever its sidecar does.
    let operations = mount::patch(namespace, &pod).map(|mut operations| {
        operations.extend(exclude.then(|| exclude::patch(&pod)).into_iter().flatten());
        operations
    });
    let patched = match operations {
        Ok(operations) if operations.is_empty() => return response,
        Ok(operations) => response.with_patch(json_patch::Patch(operations)).map_err(|error| error.to_string()),
        Err(doubt) => Err(doubt.to_string()),
    };
    patched.unwrap_or_else(|why| {
        tracing::warn!(namespace, name = request.name, why, "a Pod is left without Fairlead's Secret");
        let mut unchanged = AdmissionResponse::from(request);
        unchanged.warnings = Some(vec![format!("no SSH into this Pod: {why}")]);
        unchanged
    })
}
