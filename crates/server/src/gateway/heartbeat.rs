//! Says in the database that this gateway lives, so that the sessions of one that died do not stay open there, and what
//! its sessions have carried; and deletes there what is too old.

use std::sync::Arc;
use std::time::Duration;

use fairlead_model::Time;
use tokio::time::Instant;
use tracing::{info, warn};

use super::live::Live;
use crate::clock::now;
use crate::store::Store;

/// How often old records are looked for.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Runs until it is aborted. The database may be away: then it says so once.
pub(super) async fn run(store: Store, gateway: String, live: Arc<Live>, every: Duration, keep: Duration) {
    let mut ticks = tokio::time::interval(every);
    let mut away = false;
    let mut pruned: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let beat = async {
            store.beat(&gateway, now()).await?;
            let unnoted = live.unnoted();
            store.note_bytes(&unnoted).await?;
            live.noted(&unnoted);
            let lost = store.close_lost_sessions(now()).await?;
            let pruned = if pruned.is_none_or(|last| last.elapsed() >= PRUNE_EVERY) {
                let kept = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
                Some(store.prune(Time(now().0 - kept)).await?)
            } else {
                None
            };
            anyhow::Ok((lost, pruned))
        };
        match beat.await {
            Ok((lost, old)) => {
                away = false;
                match old {
                    // There may be more: at the next tick, so that no beat waits for them.
                    Some(records) if records > 0 => info!(records, "deleted old records"),
                    Some(_) => pruned = Some(Instant::now()),
                    None => {}
                }
                if lost > 0 {
                    info!(sessions = lost, "closed the sessions of gateways that are gone");
                }
            }
            Err(error) if !away => {
                away = true;
                warn!(error = format!("{error:#}"), "saying that this gateway lives");
            }
            Err(_) => {}
        }
    }
}
