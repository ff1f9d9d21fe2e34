//! The last picture of the cluster, kept in the database for a process that starts while the API server is away.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::world::Kind;
use fairlead_model::{Fact, Time, World};
use kube::Client;
use serde::Serializer as _;
use tokio::time::Instant;

use crate::ledger::Worlds;
use crate::logs::InARow;
use crate::store::Store;
use crate::watch::Sights;

/// Changes are written at most this often.
const EVERY: Duration = Duration::from_secs(5);
/// At least so many times what it takes to write one passes between two.
const SHARE: u32 = 20;
/// A cluster where nothing changes is written again this often, so that its picture does not grow old.
const RENEW: Duration = Duration::from_hours(1);

/// A picture that is not too old yet.
#[derive(Debug, Clone)]
pub struct Picture {
    facts: Arc<Vec<Fact>>,
    ends: Instant,
}

impl Picture {
    /// The last one, unless it is older than `max_stale` or was written in a form nobody knows any more.
    pub async fn load(store: &Store, max_stale: Duration, now: Time) -> Result<Option<Self>> {
        let Some((json, at)) = store.load_picture().await.context("reading the last picture of the cluster")? else {
            return Ok(None);
        };
        let age = Duration::from_millis(u64::try_from(now.0.saturating_sub(at.0)).unwrap_or(0));
        let Some(left) = max_stale.checked_sub(age) else {
            tracing::info!(age_seconds = age.as_secs(), "the last picture of the cluster is too old to begin from");
            return Ok(None);
        };
        match serde_json::from_str(&json) {
            Ok(facts) => Ok(Some(Self { facts: Arc::new(facts), ends: Instant::now() + left })),
            Err(error) => {
                tracing::warn!(%error, "the last picture of the cluster does not parse");
                Ok(None)
            }
        }
    }

    /// What it says of a kind, and until when that may count.
    #[must_use]
    pub fn of(&self, kind: Kind) -> Option<(Fact, Instant)> {
        let fact = self.facts.iter().find(|fact| matches!(fact, Fact::All(of, _) if *of == kind))?;
        Some((fact.clone(), self.ends))
    }
}

/// Keeps the picture in the database up to date, once every kind has been listed, until the ledger ends.
pub async fn keep(
    store: Store,
    client: Client,
    mut worlds: Worlds,
    mut sights: Sights,
    now: fn() -> Time,
) -> Result<()> {
    sights.wait_listed().await;
    let mut saved: Option<(Arc<World>, Instant)> = None;
    let mut failures = InARow::new();
    loop {
        let began = Instant::now();
        let world = worlds.borrow_and_update().clone();
        let due = match &saved {
            Some((last, at)) if last.same_cluster(&world) => at.elapsed() >= RENEW && answers(&client).await,
            _ => true,
        };
        if due {
            match save(&store, &world, now()).await {
                Ok(()) => {
                    failures.end();
                    saved = Some((world, Instant::now()));
                }
                Err(error) if failures.begin() => {
                    tracing::warn!("keeping a picture of the cluster; trying again: {error:#}");
                }
                Err(_) => {}
            }
        }
        // A large cluster's picture takes a while to write, and must not be all that is done.
        tokio::time::sleep(EVERY.max(began.elapsed() * SHARE)).await;
        // Nothing changed: look again when something does, or when the picture has to be renewed.
        if let Ok(changed) = tokio::time::timeout(RENEW, worlds.changed()).await {
            changed.context("following the world")?;
        }
    }
}

async fn save(store: &Store, world: &World, now: Time) -> Result<()> {
    let mut json = Vec::new();
    // One kind at a time, so that there is no second copy of the whole cluster.
    serde_json::Serializer::new(&mut json).collect_seq(world.facts()).context("writing it as JSON")?;
    store.save_picture(std::str::from_utf8(&json).context("writing it as JSON")?, now).await
}

/// Whether the API server answers: what nobody has seen for hours must not be written as of now.
async fn answers(client: &Client) -> bool {
    matches!(tokio::time::timeout(EVERY, client.apiserver_version()).await, Ok(Ok(_)))
}
