//! Health and metrics by HTTP, for Kubernetes and Prometheus. Nothing here names a person.

use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

pub use crate::metrics::{Direction, Metrics, Outcome};
pub use crate::readiness::Readiness;

/// Serves `/healthz`, `/readyz` and `/metrics` for ever.
pub async fn serve(listener: TcpListener, readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Result<()> {
    axum::serve(listener, router(readiness, metrics)).await.context("serving health and metrics")
}

/// `/healthz`: 200 while the process lives. `/readyz`: 200, or 503 and what it waits for. `/metrics`: OpenMetrics.
pub fn router(readiness: Arc<Readiness>, metrics: Arc<Metrics>) -> Router {
    let health = Router::new().route("/healthz", get("alive\n"));
    let ready = Router::new().route("/readyz", get(readyz)).with_state(readiness);
    let numbers = Router::new().route("/metrics", get(numbers)).with_state(metrics);
    health.merge(ready).merge(numbers)
}

async fn readyz(State(readiness): State<Arc<Readiness>>) -> (StatusCode, String) {
    match readiness.unmet().as_slice() {
        [] => (StatusCode::OK, "ready\n".to_owned()),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

async fn numbers(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => {
            ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n").into_response(),
    }
}
