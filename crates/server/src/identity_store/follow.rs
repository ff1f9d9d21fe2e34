//! How a change of the Secret reaches running servers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Identity, IdentityStore, LOOK};

impl IdentityStore {
    /// Reads it again every `every`, and at least every [`LOOK`], so that a rotation reaches running servers soon. What
    /// cannot be read does not count.
    #[must_use]
    pub fn follow(self, first: Identity, every: Duration, stop: &CancellationToken) -> watch::Receiver<Arc<Identity>> {
        let (publish, identity) = watch::channel(Arc::new(first));
        let stop = stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut failing = false;
            loop {
                tokio::time::sleep(every.min(LOOK)).await;
                match self.load().await {
                    Ok(now) => {
                        failing = false;
                        if !publish.borrow().is(&now) {
                            tracing::info!(authorities = now.public_lines().len(), "the host CA has changed");
                            publish.send_replace(Arc::new(now));
                        }
                    }
                    // Said once, not at every look.
                    Err(error) if !failing => {
                        failing = true;
                        tracing::error!("reading the host CA again: {error:#}");
                    }
                    Err(_) => {}
                }
            }
        }));
        identity
    }
}
