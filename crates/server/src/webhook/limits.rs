//! How much of this process the webhook may use: any Pod reaches it, and gateway and operator live here too.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

/// Requests at once: 64 MiB of bodies at most. An answer takes about a millisecond, so even a cluster that starts all
/// its notebooks at once needs few.
const REQUESTS: usize = 16;
/// Open connections. An API server keeps one or two.
pub(super) const CONNECTIONS: usize = 256;
/// How long one request may take from its head to its answer. The API server waits 2 s.
const PATIENCE: Duration = Duration::from_secs(5);

/// Counts requests; to be given to [`limit`].
pub(super) fn requests() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(REQUESTS))
}

/// Lets a request through where there is room. Else it is answered at once and its body is never read: the API server
/// goes on by `failurePolicy`.
pub(super) async fn limit(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_seat) = room.try_acquire() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let answered = tokio::time::timeout(PATIENCE, next.run(request)).await;
    answered.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
}
