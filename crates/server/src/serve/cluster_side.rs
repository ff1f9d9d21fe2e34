//! The parts of `serve` that look at the cluster and write to it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::HostSuffix;
use fairlead_model::world::Kind;
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::identity_side::{IdentitySide, Known, Showing, Source};
use super::leader::Leader;
use crate::identity_store::IdentityStore;
use crate::ledger::{Facts, Worlds};
use crate::picture::Picture;
use crate::settings::{MeshMode, Part, Settings};
use crate::store::Store;
use crate::watch::{self as cluster_watch, Sights};
use crate::web::{Metrics, Readiness};
use crate::webhook::{self, Webhook};
use crate::{clock, cluster};

/// How often the webhook's certificate and configuration are looked after.
const LOOK: Duration = Duration::from_secs(30);

/// What these parts work with.
pub(super) struct ClusterSide {
    pub(super) store: Store,
    pub(super) facts: Facts,
    pub(super) worlds: Worlds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// Asked to stop: from then on nothing new is begun.
    pub(super) stop: CancellationToken,
    /// The last session has ended too.
    pub(super) over: CancellationToken,
}

impl ClusterSide {
    /// Starts watch, webhook and operator; what gateways show, unless this is a dry run. The leader's work goes to
    /// `lasting`: it has to give the Lease back after the stop.
    pub(super) async fn start(
        self,
        settings: &Settings,
        parts: &mut JoinSet<Result<()>>,
        lasting: &mut JoinSet<Result<()>>,
    ) -> Result<Option<Showing>> {
        let Self { store, facts, worlds, metrics, readiness, stop, over } = self;
        let suffix = HostSuffix::parse(&settings.host_suffix).context("reading `--host-suffix`")?;
        let runs = |part: Part| settings.parts.contains(&part);
        let namespace = settings.cluster.namespace.clone();
        readiness.wait_for("cluster", "the cluster's objects are not listed yet");
        let client = cluster::connect(&settings.cluster).await?;
        let picture = Picture::load(&store, settings.max_stale, clock::now()).await?;
        let sights = cluster_watch::start(&client, &facts, &worlds, picture.as_ref(), &over);
        parts.spawn(report(sights.clone(), readiness.clone()));
        if runs(Part::Webhook) && !settings.dry_run {
            start_webhook(settings, &client, &metrics, &stop, parts)?;
        }

        let kept = IdentityStore::new(client.clone(), &namespace, store.clone())
            .with_files(settings.identity_files.clone())
            .adopting(settings.adopt_identity);
        readiness.wait_for("identity", "the host CA is not known yet");
        if settings.dry_run && !runs(Part::Operator) {
            return Ok(None);
        }
        let source = match (runs(Part::Operator), &settings.gateway_identity_files) {
            (false, Some(dir)) => Source::Files { dir: dir.clone(), namespace },
            (false, None) => Source::There(kept),
            (true, _) => {
                let (suffix, resync, known) = (suffix.clone(), settings.resync, Known::default());
                let source = Source::Made(kept.clone(), known.clone());
                let mesh = settings.mesh.planned(&namespace);
                cluster_watch::mesh::start(&client, &facts, &mesh, &over);
                let leader =
                    Leader { client, namespace, store, worlds, sights, metrics, kept, known, suffix, resync, mesh };
                if settings.dry_run {
                    parts.spawn(leader.pretend(readiness));
                    return Ok(None);
                }
                lasting.spawn(leader.candidate(&settings.pod_name)?.lead(stop.clone(), move || leader.clone().work()));
                source
            }
        };
        let identity = IdentitySide { source, suffix, resync: settings.resync, readiness, over };
        let (work, showing) = identity.begin();
        parts.spawn(work);
        Ok(Some(showing))
    }
}

fn start_webhook(
    settings: &Settings,
    client: &Client,
    metrics: &Arc<Metrics>,
    stop: &CancellationToken,
    parts: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let address = settings.webhook_listen;
    let listener = std::net::TcpListener::bind(address).with_context(|| format!("listening on `{address}`"))?;
    listener.set_nonblocking(true).context("listening for the webhook")?;
    let namespace = settings.cluster.namespace.clone();
    let names = vec![webhook::service_name(&namespace)];
    let (client, metrics) = (client.clone(), metrics.clone());
    let exclude = settings.mesh.mode == MeshMode::Exclude;
    let webhook = Webhook { client, namespace, names, look: LOOK, metrics, exclude, now: clock::now };
    parts.spawn(webhook.serve(listener, stop.clone()));
    Ok(())
}

/// Keeps the readiness in step with what is known of the cluster.
async fn report(mut sights: Sights, readiness: Arc<Readiness>) -> Result<()> {
    loop {
        if sights.usable() {
            readiness.met("cluster");
        } else {
            let kinds: Vec<&str> = sights.unlisted().into_iter().map(Kind::plural).collect();
            readiness.wait_for("cluster", format!("not listed yet: {}", kinds.join(", ")));
        }
        sights.changed().await;
    }
}
