//! What was found wrong, as the database has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::{NotebookId, Time, Trouble};
use tokio::time::Instant;

use crate::store::Store;

/// Remembers what was written. Only one's own changes are written, not whatever differs: two operators that do not
/// agree, during an update, would wake each other for ever.
pub(super) struct Found {
    store: Store,
    resync: Duration,
    written: Option<(BTreeMap<NotebookId, BTreeSet<Trouble>>, Instant)>,
}

impl Found {
    pub(super) const fn new(store: Store, resync: Duration) -> Self {
        Self { store, resync, written: None }
    }

    /// Writes all there is to say now, where that has changed, and every `resync`; whether it is written.
    pub(super) async fn write(&mut self, all: BTreeMap<NotebookId, BTreeSet<Trouble>>, now: Time) -> bool {
        match &self.written {
            Some((before, at)) if *before == all && at.elapsed() < self.resync => return true,
            _ => {}
        }
        match self.store.set_troubles(&all, now).await {
            Ok(()) => self.written = Some((all, Instant::now())),
            Err(error) => {
                tracing::warn!("noting what is wrong with notebooks: {error:#}");
                return false;
            }
        }
        true
    }
}
