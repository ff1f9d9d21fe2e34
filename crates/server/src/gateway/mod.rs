//! The SSH jump host: one address through which every notebook is reached, and which ends no session itself.
//!
//! A connection is accepted ([`limits`]), signs in by a public key ([`handler`]), opens channels to notebooks
//! ([`tunnel`], [`relay`]) or runs a command out of a closed set ([`console`], [`commands`], [`answers`]), and is ended
//! when its right is gone ([`connection`]). Nothing on the way to a notebook waits for the API server or the database.

mod answers;
mod asks;
mod commands;
mod connection;
mod console;
mod handler;
mod heartbeat;
mod keys;
mod limits;
mod live;
mod refusal;
mod relay;
mod strangers;
mod stream;
mod transport;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fairlead_model::HostSuffix;
use fairlead_model::client_config::GatewayAddress;
use fairlead_model::identity::HostIdentity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

pub use self::limits::Limits;
use crate::ledger::Worlds;
use crate::metrics::{Metrics, Outcome};
use crate::random;
use crate::recorder::Recorder;
use crate::store::Store;

/// After an error of `accept` that is the machine's fault, as too many open files, which goes away when some close.
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// What the gateway is told about itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its address as clients reach it.
    pub address: GatewayAddress,
    /// What every notebook's host name ends in.
    pub suffix: HostSuffix,
    /// What clients print before they sign in; nothing where empty.
    pub banner: String,
    /// How long sessions go on after shutdown has begun.
    pub drain: Duration,
    /// How long audit events and ended sessions stay in the database.
    pub keep_records: Duration,
    /// Limits.
    pub limits: Limits,
}

/// Everything the gateway works with.
#[derive(Debug)]
pub struct Gateway {
    /// Snapshots of the world.
    pub worlds: Worlds,
    /// Keys, for the commands.
    pub store: Store,
    /// Sessions and audit events.
    pub recorder: Recorder,
    /// Host key and certificate; new connections get the newest.
    pub identity: watch::Receiver<HostIdentity>,
    /// The lines of `known_hosts` that clients should have now.
    pub known_hosts: watch::Receiver<String>,
    /// Settings.
    pub settings: Settings,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

/// What all connections share.
struct Shared {
    worlds: Worlds,
    store: Store,
    recorder: Recorder,
    /// This process, in the rows of its sessions.
    id: String,
    known_hosts: watch::Receiver<String>,
    settings: Settings,
    metrics: Arc<Metrics>,
    gate: Arc<limits::Gate>,
    strangers: strangers::Strangers,
    live: Arc<live::Live>,
    /// No new sessions.
    draining: CancellationToken,
    /// No sessions.
    drained: CancellationToken,
}

impl Settings {
    /// From the flags.
    pub fn read(flags: &crate::settings::Settings) -> Result<Self> {
        let address = &flags.gateway_address;
        let address =
            GatewayAddress::parse(address).with_context(|| format!("reading the gateway's address `{address}`"))?;
        let suffix = &flags.host_suffix;
        let suffix = HostSuffix::parse(suffix).with_context(|| format!("reading the host suffix `{suffix}`"))?;
        let (banner, drain) = (flags.gateway_banner.clone(), flags.gateway_drain);
        let (keep_records, limits) = (flags.keep_records, Limits::default());
        Ok(Self { address, suffix, banner, drain, keep_records, limits })
    }
}

impl Gateway {
    /// Serves until `shutdown`, then lets live sessions go on for [`Settings::drain`] and ends the rest.
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let Self { worlds, store, recorder, mut identity, known_hosts, settings, metrics } = self;
        let limits = settings.limits.clone();
        let mut config = transport::config(&identity.borrow_and_update(), &limits)?;
        let id = random::id()?;
        let live = Arc::<live::Live>::default();
        let (beat, keep) = (limits.beat, settings.keep_records);
        let beats = tokio::spawn(heartbeat::run(store.clone(), id.clone(), live.clone(), beat, keep));
        let asks = tokio::spawn(asks::run(store.clone(), id.clone(), live.clone()));
        let gate = limits::Gate::new(limits.clone());
        let drained = CancellationToken::new();
        let drain = settings.drain;
        let draining = shutdown.clone();
        let shared = Arc::new(Shared {
            worlds,
            store,
            recorder,
            id,
            known_hosts,
            settings,
            metrics,
            gate,
            strangers: strangers::Strangers::default(),
            live,
            draining,
            drained: drained.clone(),
        });
        let tracker = TaskTracker::new();
        info!(address = %listener.local_addr().context("asking for the gateway's address")?, "gateway listens");
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (socket, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "accepting a connection");
                    tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                    continue;
                }
            };
            if identity.has_changed().unwrap_or(false) {
                match transport::config(&identity.borrow_and_update(), &limits) {
                    Ok(renewed) => config = renewed,
                    Err(error) => error!(error = format!("{error:#}"), "the new host identity is not usable"),
                }
            }
            accept(&shared, &tracker, &config, socket, from);
        }
        drop(listener);
        tracker.close();
        info!(connections = tracker.len(), "gateway drains");
        if tokio::time::timeout(drain, tracker.wait()).await.is_err() {
            drained.cancel();
            tracker.wait().await;
        }
        beats.abort();
        asks.abort();
        Ok(())
    }
}

/// Never waits: what follows is a task of its own.
fn accept(
    shared: &Arc<Shared>,
    tracker: &TaskTracker,
    config: &Arc<russh::server::Config>,
    socket: TcpStream,
    from: SocketAddr,
) {
    match shared.gate.enter(from.ip()) {
        Ok(seat) => {
            tracker.spawn(connection::serve(Arc::clone(shared), Arc::clone(config), socket, from, seat));
        }
        Err(full) => {
            debug!(%from, limit = full.word(), "connection closed at once");
            shared.metrics.signins.get_or_create(&Outcome { outcome: full.word() }).inc();
        }
    }
}
