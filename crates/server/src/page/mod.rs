//! The web page: notebooks and how to connect to them, keys, sessions. It reads snapshots of the world and rows, and
//! never touches the cluster: what it wants changed there it asks for in the database.
//!
//! Every request passes, from the outside in: response headers ([`guards`]), the visitor's language ([`lang`]), who the
//! visitor is ([`visitor`], which believes the ingress alone), the token against forged posts ([`csrf`]). Then `html` or
//! `api` renders what the files named after things ([`keys`] and so on) say and do.

mod admin;
mod api;
mod assets;
mod board;
mod csrf;
mod editors;
mod error;
mod guards;
mod html;
mod keys;
mod lang;
mod notebooks;
mod pace;
mod plain;
mod reads;
mod routes;
mod sessions;
mod settings;
mod streams;
mod visitor;
mod when;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Redirect};
use axum_server::accept::DefaultAcceptor;
use fairlead_model::client_config::GatewayAddress;
use fairlead_model::{HostSuffix, Person};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub use self::error::Refused;
pub use self::lang::Lang;
pub use self::routes::Route;
pub use self::settings::{IngressSecret, Settings, Trust};
pub use self::visitor::Visitor;
use crate::ledger::Worlds;
use crate::limited::Limited;
use crate::recorder::Recorder;
use crate::store::Store;
use crate::{clock, known_hosts};

/// How much a request's body may have: a few keys with long comments, not a flood of them.
const BODY_LIMIT: usize = 256 * 1024;

/// Open connections: an ingress keeps one for each event stream, of which there are 1,000, and some for the rest.
const CONNECTIONS: usize = 2048;
/// How long a connection may take until its first request is there.
const HEAD: Duration = Duration::from_secs(10);

/// Everything the page works with.
#[derive(Debug)]
pub struct Parts {
    /// Snapshots of the world.
    pub worlds: Worlds,
    /// Keys, sessions, what people ask for.
    pub store: Store,
    /// Audit events.
    pub recorder: Recorder,
    /// The lines of `known_hosts` that clients should have now.
    pub known_hosts: watch::Receiver<String>,
    /// The gateway's address as clients reach it.
    pub gateway: GatewayAddress,
    /// What every notebook's host name ends in.
    pub suffix: HostSuffix,
    /// Settings of the page alone.
    pub settings: Settings,
}

/// The page.
#[derive(Debug)]
pub struct Page {
    worlds: Worlds,
    store: Store,
    recorder: Recorder,
    known_hosts: watch::Receiver<String>,
    gateway: GatewayAddress,
    suffix: HostSuffix,
    settings: Settings,
    board: watch::Receiver<board::Board>,
    streams: streams::Streams,
    pace: pace::Pace,
    reads: reads::Reads,
    seal: html::Seal,
}

impl Page {
    /// Begins to follow the world.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { worlds, store, recorder, known_hosts, gateway, suffix, settings } = parts;
        let board = board::follow(worlds.clone(), store.clone(), suffix.clone());
        let (streams, reads, pace) = (streams::Streams::default(), reads::Reads::default(), pace::Pace::default());
        let seal = html::Seal::new(&settings.trust);
        Self { worlds, store, recorder, known_hosts, gateway, suffix, settings, board, streams, pace, reads, seal }
    }

    /// The lines of `known_hosts` that one person's clients should have now.
    async fn known_hosts_of(&self, person: &Person) -> Result<String> {
        let (authorities, world) = (self.known_hosts.borrow().clone(), self.worlds.borrow().clone());
        known_hosts::of(person, &authorities, &self.suffix, &world, &self.store, clock::now()).await
    }

    /// Serves until `stop`.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<()> {
        let handle = axum_server::Handle::new();
        let listener = listener.into_std().context("taking over the page's port")?;
        let server = axum_server::from_tcp(listener)
            .context("listening for the page")?
            .acceptor(Limited::new(DefaultAcceptor::new(), CONNECTIONS))
            .first_request_timeout(HEAD)
            .handle(handle.clone())
            .serve(router(Arc::new(self)).into_make_service());
        tokio::spawn(async move {
            stop.cancelled().await;
            // Event streams never end by themselves.
            handle.graceful_shutdown(Some(Duration::from_secs(2)));
        });
        server.await.context("serving the page")
    }
}

/// All of it, under the prefix of the settings. Not by axum's nesting, to which `/fairlead/` and `/fairlead` are one.
pub fn router(page: Arc<Page>) -> Router {
    let prefix = page.settings.prefix.clone();
    let inner = inner(page);
    Router::new().fallback(async move |mut request: Request| {
        let below = request.uri().path_and_query().and_then(|path| path.as_str().strip_prefix(&prefix));
        match below.map(|path| (path.starts_with('/'), path.is_empty() || path.starts_with('?'), path.parse())) {
            Some((true, _, Ok(uri))) => {
                *request.uri_mut() = uri;
                inner.oneshot(request).await.into_response()
            }
            Some((_, true, _)) => {
                let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
                Redirect::permanent(&format!("{prefix}/{query}")).into_response()
            }
            _ => (StatusCode::NOT_FOUND, format!("this is at {prefix}/\n")).into_response(),
        }
    })
}

/// What is only for who is known: pages and JSON.
fn pages() -> routes::Routes {
    html::routes().merge(api::routes())
}

/// The part of every asset's address that changes with the assets.
#[must_use]
pub fn assets_version() -> &'static str {
    assets::VERSION.as_str()
}

/// Every route there is.
#[must_use]
pub fn routes() -> Vec<Route> {
    pages().merge(assets::routes()).table()
}

fn inner(page: Arc<Page>) -> Router {
    Router::new()
        .merge(pages().router())
        .fallback(html::not_found)
        .layer(from_fn_with_state(page.clone(), csrf::check))
        .layer(from_fn_with_state(page.clone(), visitor::recognise))
        .merge(assets::routes().router())
        .layer(from_fn_with_state(page.clone(), error::render))
        .layer(from_fn_with_state(page.clone(), guards::headers))
        .layer(from_fn_with_state(page.clone(), lang::choose))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(page)
}
