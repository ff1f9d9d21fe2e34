//! The gateway's part of `serve`: it listens once there is something to decide by.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::gateway::{self, Gateway};
use crate::identity_store::{Identity, gateway_identity};
use crate::ledger::Worlds;
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::store::Store;
use crate::web::{Metrics, Readiness};

/// What the gateway works with.
pub(super) struct GatewaySide {
    pub(super) store: Store,
    pub(super) worlds: Worlds,
    pub(super) recorder: Recorder,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) stop: CancellationToken,
}

impl GatewaySide {
    /// Runs until asked to stop, and until the sessions of then have had their time to end.
    pub(super) async fn run(self, settings: Settings, identity: watch::Receiver<Arc<Identity>>) -> Result<()> {
        let Self { store, worlds, recorder, metrics, readiness, stop } = self;
        readiness.wait_for("gateway", "the gateway does not listen yet");
        // Before the cluster is known, everybody would be a stranger.
        if stop.run_until_cancelled(readiness.until_met(&["store", "cluster", "identity"])).await.is_none() {
            return Ok(());
        }
        let authority = identity.borrow().authority.public_line();
        let gateway = Gateway {
            worlds,
            store,
            recorder,
            identity: gateway_identity(identity, clock::now, &stop)?,
            settings: gateway::Settings::read(&settings, authority)?,
            metrics,
        };
        let listener = super::bind(settings.gateway_listen).await.context("opening the gateway's port")?;
        readiness.met("gateway");
        gateway.run(listener, stop).await
    }
}
