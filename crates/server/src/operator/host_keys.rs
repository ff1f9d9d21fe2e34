//! The host keys of notebooks, as the database has them for the page: whoever shows one holds no master secret.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_model::{NotebookId, PublicKey, Time, World};
use k8s_openapi::ByteString;

use super::held::Held;
use crate::logs::InARow;
use crate::store::Store;

/// Remembers what was written.
pub(super) struct HostKeys {
    store: Store,
    /// As the Secrets have them: no key is parsed that was written already.
    written: BTreeMap<NotebookId, ByteString>,
    /// Whether a Secret was written or has gone since.
    stale: bool,
    begun: bool,
    failures: InARow,
}

impl HostKeys {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, written: BTreeMap::new(), stale: true, begun: false, failures: InARow::new() }
    }

    /// Says that a Secret was written or has gone.
    pub(super) const fn changed(&mut self) {
        self.stale = true;
    }

    /// Writes those of all Secrets that are in place, where they have changed; whether they are written. A notebook
    /// whose Secret is not in place has the key that it had: were it forgotten, nobody could revoke it.
    pub(super) async fn write(&mut self, world: &World, held: &BTreeMap<NotebookId, Held>, now: Time) -> bool {
        if !self.stale {
            return true;
        }
        let in_place = held.iter().filter(|(_, held)| held.version.is_some());
        let lines: Vec<(&NotebookId, &ByteString)> =
            in_place.filter_map(|(id, held)| Some((id, held.host_key.as_ref()?))).collect();
        let is_written = |(id, line): &(&NotebookId, &ByteString)| self.written.get(*id) == Some(*line);
        if !self.begun || lines.len() != self.written.len() || !lines.iter().all(is_written) {
            let keys = lines.iter().filter_map(|(id, line)| Some(((*id).clone(), parse(line)?))).collect();
            let there: BTreeSet<NotebookId> = world.notebooks().map(|(id, _)| id.clone()).collect();
            if let Err(error) = self.store.set_host_keys(&keys, &there, now).await {
                if self.failures.begin() {
                    tracing::warn!("noting the host keys of notebooks; trying again: {error:#}");
                }
                return false;
            }
            self.failures.end();
            self.written = lines.into_iter().map(|(id, line)| (id.clone(), line.clone())).collect();
            self.begun = true;
        }
        self.stale = false;
        true
    }
}

fn parse(line: &ByteString) -> Option<PublicKey> {
    PublicKey::parse(std::str::from_utf8(&line.0).ok()?).ok().map(|(key, _)| key)
}
