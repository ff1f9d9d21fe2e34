//! Ends the sessions that somebody asked to end on the page. The page has no way to a gateway but the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::warn;

use super::live::Live;
use crate::store::{Store, Topic};

/// How often it looks even when nobody says that there is something new.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until it is aborted. The database may be away: then it says so once.
pub(super) async fn run(store: Store, gateway: String, live: Arc<Live>) {
    let mut changes = store.changes(Topic::Asks);
    let mut away = false;
    loop {
        changes.mark_unchanged();
        match store.ends_asked(&gateway).await {
            Ok(asked) => {
                away = false;
                for (session, by) in asked {
                    live.end(&session, by);
                }
            }
            Err(error) if !away => {
                away = true;
                warn!(error = format!("{error:#}"), "looking for sessions that are to end");
            }
            Err(_) => {}
        }
        if away {
            sleep(RETRY).await;
        } else if let Ok(Err(_)) = timeout(LOOK_AGAIN, changes.changed()).await {
            // Nothing tells of changes any more; looking from time to time still works.
            sleep(LOOK_AGAIN).await;
        }
    }
}
