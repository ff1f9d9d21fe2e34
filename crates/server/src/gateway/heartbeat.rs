//! Says in the database that this gateway lives, so that the sessions of one that died do not stay open there.

use std::time::Duration;

use tracing::{info, warn};

use crate::clock::now;
use crate::store::Store;

/// Three of them fit into the minute after which a gateway counts as lost.
const EVERY: Duration = Duration::from_secs(20);

/// Runs until it is aborted. The database may be away: then it says so once.
pub(super) async fn run(store: Store, gateway: String) {
    let mut ticks = tokio::time::interval(EVERY);
    let mut away = false;
    loop {
        ticks.tick().await;
        let beat = async {
            store.beat(&gateway, now()).await?;
            store.close_lost_sessions(now()).await
        };
        match beat.await {
            Ok(lost) => {
                away = false;
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
