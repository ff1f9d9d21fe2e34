//! The gateway's part of `serve`: it listens once there is something to decide by.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use super::identity_side::Showing;
use crate::gateway::{self, Gateway};
use crate::gateway_identity::Shown;
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
    pub(super) async fn run(self, settings: Settings, showing: Showing) -> Result<()> {
        let Self { store, mut worlds, recorder, metrics, readiness, stop } = self;
        readiness.wait_for("gateway", "the gateway does not listen yet");
        let known = async { may_decide(&readiness, &mut worlds).await.and(showing.known().await) };
        let Some(known) = stop.run_until_cancelled(known).await else { return Ok(()) };
        let Shown { host, known_hosts } = known?;
        let listen = settings.gateway_listen;
        let settings = gateway::Settings::read(&settings)?;
        let gateway = Gateway { worlds, store, recorder, identity: host, known_hosts, settings, metrics };
        let listener = super::bind(listen).await.context("opening the gateway's port")?;
        readiness.met("gateway");
        gateway.run(listener, stop).await
    }
}

/// Waits until there is something to decide by. Before cluster and keys are known, everybody would be a stranger, and
/// before the switches, some would get in whom an admin keeps out.
pub(super) async fn may_decide(readiness: &Readiness, worlds: &mut Worlds) -> Result<()> {
    readiness.until_met(&["store", "cluster", "identity"]).await;
    super::wait_for_rows(worlds).await
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use fairlead_model::{Fact, World};
    use futures::FutureExt as _;

    use super::*;
    use crate::ledger;

    #[tokio::test]
    async fn nobody_is_refused_or_let_in_before_keys_and_switches_are_read() {
        let all = [Fact::Keys(Vec::new(), BTreeMap::new()), Fact::Switches(BTreeSet::new())];
        for first in [0, 1] {
            let (facts, mut worlds) = ledger::start(World::default());
            let readiness = Readiness::new();
            for condition in ["store", "cluster", "identity"] {
                readiness.met(condition);
            }
            facts.send(all[first].clone()).await.unwrap();
            worlds.changed().await.unwrap();
            assert!(may_decide(&readiness, &mut worlds).now_or_never().is_none(), "it did not wait for both");
            facts.send(all[1 - first].clone()).await.unwrap();
            may_decide(&readiness, &mut worlds).await.unwrap();
        }
    }
}
