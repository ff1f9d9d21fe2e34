//! The parts of `serve` that look at the cluster and write to it.

use std::io::stdout;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::HostSuffix;
use fairlead_model::world::Kind;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::identity_store::{Identity, IdentityStore};
use crate::ledger::{Facts, Worlds};
use crate::operator::{self, Operator};
use crate::picture::{self, Picture};
use crate::settings::{Part, Settings};
use crate::store::Store;
use crate::watch::{self as cluster_watch, Sights};
use crate::web::{Metrics, Readiness};
use crate::webhook::{self, Webhook};
use crate::{clock, cluster};

/// How long a container runs without an sshd before that is said.
const GREETING_PATIENCE: Duration = Duration::from_mins(1);
/// How often the webhook's certificate and configuration are looked after.
const LOOK: Duration = Duration::from_secs(30);

/// What these parts work with.
pub(super) struct ClusterSide {
    pub(super) store: Store,
    pub(super) facts: Facts,
    pub(super) worlds: Worlds,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) stop: CancellationToken,
}

impl ClusterSide {
    /// Starts watch, webhook and operator; returns the host CA once it is known, or `None` when asked to stop before.
    pub(super) async fn start(
        self,
        settings: &Settings,
        parts: &mut JoinSet<Result<()>>,
    ) -> Result<Option<watch::Receiver<Arc<Identity>>>> {
        let Self { store, facts, worlds, metrics, readiness, stop } = self;
        let suffix = HostSuffix::parse(&settings.host_suffix).context("reading `--host-suffix`")?;
        let runs = |part: Part| settings.parts.contains(&part);
        readiness.wait_for("cluster", "the cluster's objects are not listed yet");
        let client = cluster::connect(&settings.cluster).await?;
        let picture = Picture::load(&store, settings.max_stale, clock::now()).await?;
        let sights = cluster_watch::start(&client, &facts, &worlds, picture.as_ref(), &stop);
        parts.spawn(report(sights.clone(), readiness.clone()));

        if runs(Part::Webhook) && !settings.dry_run {
            let address = settings.webhook_listen;
            let listener = std::net::TcpListener::bind(address).with_context(|| format!("listening on `{address}`"))?;
            listener.set_nonblocking(true).context("listening for the webhook")?;
            let namespace = settings.cluster.namespace.clone();
            let names = vec![webhook::service_name(&namespace)];
            let (client, metrics) = (client.clone(), metrics.clone());
            let webhook = Webhook { client, namespace, names, look: LOOK, metrics, now: clock::now };
            parts.spawn(webhook.serve(listener, stop.clone()));
        }

        let kept = IdentityStore::new(client.clone(), &settings.cluster.namespace, store.clone())
            .with_files(settings.identity_files.clone())
            .adopting(settings.adopt_identity);
        readiness.wait_for("identity", "the host CA is not known yet");
        let loading = async {
            match (settings.dry_run, runs(Part::Operator)) {
                (true, _) => kept.load_or_pretend().await,
                (_, true) => kept.wait().await,
                // Only the operator makes one.
                _ => kept.load().await,
            }
        };
        let Some(identity) = stop.run_until_cancelled(loading).await else { return Ok(None) };
        let identity = kept.follow(identity?, settings.resync, &stop);
        readiness.met("identity");

        if runs(Part::Operator) {
            if !settings.dry_run {
                let keeping = picture::keep(store.clone(), client.clone(), worlds.clone(), sights.clone(), clock::now);
                parts.spawn(keeping);
            }
            let operator = Operator {
                client,
                store,
                worlds,
                metrics,
                identity: identity.clone(),
                suffix,
                resync: settings.resync,
                greeting_patience: GREETING_PATIENCE,
                dry_run: settings.dry_run.then(|| Box::new(stdout()) as _),
                now: clock::now,
            };
            parts.spawn(operator::run(operator, sights));
        }
        Ok(Some(identity))
    }
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
