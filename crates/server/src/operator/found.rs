//! What was found wrong, as the database has it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::{NotebookId, Time, Trouble};
use tokio::time::Instant;

use crate::logs::InARow;
use crate::store::Store;

/// Remembers what there is to say and what was written. Only one's own changes are written, not whatever differs: two
/// operators that do not agree, during an update, would wake each other for ever.
pub(super) struct Found {
    store: Store,
    resync: Duration,
    all: BTreeMap<NotebookId, BTreeSet<Trouble>>,
    /// When all of it was written, unless something has changed since.
    written: Option<Instant>,
    failures: InARow,
}

impl Found {
    pub(super) const fn new(store: Store, resync: Duration) -> Self {
        Self { store, resync, all: BTreeMap::new(), written: None, failures: InARow::new() }
    }

    /// Makes these all there is to say of a notebook.
    pub(super) fn put(&mut self, id: &NotebookId, troubles: BTreeSet<Trouble>) {
        if self.all.get(id).map_or(troubles.is_empty(), |known| *known == troubles) {
            return;
        }
        self.written = None;
        if troubles.is_empty() {
            self.all.remove(id);
        } else {
            self.all.insert(id.clone(), troubles);
        }
    }

    /// Writes all there is to say now, where that has changed, and every `resync`; whether it is written.
    pub(super) async fn write(&mut self, now: Time) -> bool {
        if self.written.is_some_and(|at| at.elapsed() < self.resync) {
            return true;
        }
        if let Err(error) = self.store.set_troubles(&self.all, now).await {
            if self.failures.begin() {
                tracing::warn!("noting what is wrong with notebooks; trying again: {error:#}");
            }
            return false;
        }
        self.failures.end();
        self.written = Some(Instant::now());
        true
    }
}
