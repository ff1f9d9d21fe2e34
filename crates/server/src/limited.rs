//! A server by HTTP that has so many connections and no more: gateway and operator live in the same process.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::{Extension, Router};
use axum_server::accept::Accept;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Accepts connections while there is room, and closes the others at once.
#[derive(Debug, Clone)]
pub(crate) struct Limited<A> {
    inner: A,
    room: Arc<Semaphore>,
}

impl<A> Limited<A> {
    pub(crate) fn new(inner: A, connections: usize) -> Self {
        Self { inner, room: Arc::new(Semaphore::new(connections)) }
    }
}

impl<A> Accept<TcpStream, Router> for Limited<A>
where
    A: Accept<TcpStream, Router> + Clone + Send + Sync + 'static,
    A::Future: Send,
{
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: TcpStream, service: Router) -> Self::Future {
        let seat = self.room.clone().try_acquire_owned();
        let inner = self.inner.clone();
        Box::pin(async move {
            let seat = seat.map_err(io::Error::other)?;
            // The seat lasts as long as the connection's own copy of the service.
            inner.accept(stream, service.layer(Extension(Arc::new(seat)))).await
        })
    }
}
