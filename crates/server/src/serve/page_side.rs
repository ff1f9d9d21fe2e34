//! The page's part of `serve`.

use std::sync::Arc;

use anyhow::{Context, Result};
use fairlead_model::HostSuffix;
use fairlead_model::client_config::GatewayAddress;
use tokio_util::sync::CancellationToken;

use super::gateway_side::may_decide;
use super::identity_side::Showing;
use crate::ledger::Worlds;
use crate::page::{self, Page, Parts};
use crate::recorder::Recorder;
use crate::settings::Settings;
use crate::store::Store;
use crate::web::Readiness;

/// What the page works with.
pub(super) struct PageSide {
    pub(super) page: page::Settings,
    pub(super) store: Store,
    pub(super) worlds: Worlds,
    pub(super) recorder: Recorder,
    pub(super) readiness: Arc<Readiness>,
    pub(super) stop: CancellationToken,
}

impl PageSide {
    /// Runs until asked to stop.
    pub(super) async fn run(self, settings: Settings, showing: Showing) -> Result<()> {
        let Self { page, store, mut worlds, recorder, readiness, stop } = self;
        readiness.wait_for("page", "the page does not listen yet");
        let known = async { may_decide(&readiness, &mut worlds).await.and(showing.known().await) };
        let Some(known) = stop.run_until_cancelled(known).await else { return Ok(()) };
        let known_hosts = known?.known_hosts;
        let suffix = HostSuffix::parse(&settings.host_suffix).context("reading `--host-suffix`")?;
        let gateway = GatewayAddress::parse(&settings.gateway_address).context("reading `--gateway-address`")?;
        let page = Page::new(Parts { worlds, store, recorder, known_hosts, gateway, suffix, settings: page });
        let listener = super::bind(settings.page.listen).await.context("opening the page's port")?;
        readiness.met("page");
        page.run(listener, stop).await
    }
}
