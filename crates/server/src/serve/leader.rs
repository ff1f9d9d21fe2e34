//! What one process alone does: whoever holds the Lease.

use std::io::stdout;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fairlead_model::HostSuffix;
use fairlead_model::plan::mesh;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::identity_side::Known;
use crate::clock;
use crate::identity_store::{Identity, IdentityStore, LOOK};
use crate::lease::Candidate;
use crate::ledger::Worlds;
use crate::operator::{self, Operator, Policies, gateway_secret};
use crate::picture;
use crate::store::Store;
use crate::watch::Sights;
use crate::web::{Metrics, Readiness};

/// How long a container runs without an sshd before that is said.
const GREETING_PATIENCE: Duration = Duration::from_mins(1);

/// What the leader works with. Others have the same, up to date, so that they can go on at once.
#[derive(Clone)]
pub(super) struct Leader {
    pub(super) client: Client,
    pub(super) namespace: String,
    pub(super) store: Store,
    pub(super) worlds: Worlds,
    pub(super) sights: Sights,
    pub(super) metrics: Arc<Metrics>,
    pub(super) kept: IdentityStore,
    pub(super) known: Known,
    pub(super) suffix: HostSuffix,
    pub(super) resync: Duration,
    pub(super) mesh: mesh::Settings,
}

impl Leader {
    /// Who would lead, under a name for people to read.
    pub(super) fn candidate(&self, name: &str) -> Result<Candidate> {
        Candidate::new(self.client.clone(), &self.namespace, name, self.metrics.clone(), clock::now)
    }

    /// Works until it fails, or is dropped because another leads. Every loop that writes to the cluster is here, in this
    /// one future: none may outlive it.
    pub(super) async fn work(self) -> Result<()> {
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let first = self.identity().await?;
        let identity = self.kept.clone().follow(first, self.resync.min(LOOK), &over);
        let operator = self.operator(identity.clone(), false);
        let Self { client, namespace, store, worlds, sights, resync, .. } = self;
        let front = gateway_secret::keep(client.clone(), namespace, identity, resync, clock::now);
        let picture = picture::keep(store, client, worlds, sights.clone(), clock::now);
        tokio::try_join!(operator::run(operator, sights), front, picture).map(drop)
    }

    /// Prints what it would write, and writes nothing; it never leads.
    pub(super) async fn pretend(self, readiness: Arc<Readiness>) -> Result<()> {
        let first = self.kept.load_or_pretend().await?;
        readiness.met("identity");
        let over = CancellationToken::new();
        let _over = over.clone().drop_guard();
        let identity = self.kept.clone().follow(first, self.resync.min(LOOK), &over);
        operator::run(self.operator(identity, true), self.sights).await
    }

    fn operator(&self, identity: watch::Receiver<Arc<Identity>>, dry_run: bool) -> Operator {
        Operator {
            client: self.client.clone(),
            store: self.store.clone(),
            worlds: self.worlds.clone(),
            metrics: self.metrics.clone(),
            identity,
            suffix: self.suffix.clone(),
            resync: self.resync,
            greeting_patience: GREETING_PATIENCE,
            dry_run: dry_run.then(|| Box::new(stdout()) as _),
            policies: Policies { settings: self.mesh.clone(), dry_run: dry_run.then(|| Box::new(stdout()) as _) },
            now: clock::now,
        }
    }

    /// The host CA as it is now, made where there is none. Where one is known already, a process that serves goes on with
    /// that if no other can be read at this moment: no mounted file is newer.
    async fn identity(&self) -> Result<Identity> {
        let Some(known) = self.known.get() else { return self.kept.wait().await };
        match self.kept.load().await {
            Ok(identity) => Ok(identity),
            Err(error) => {
                tracing::error!("going on with the host CA that is known: {error:#}");
                Ok(Identity::clone(&known.borrow()))
            }
        }
    }
}
