//! The host keys of notebooks, as the database has them for the page: whoever shows one holds no master secret.

use std::collections::BTreeMap;

use fairlead_model::{NotebookId, PublicKey, plan};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use crate::store::Store;

/// Remembers what was written.
pub(super) struct HostKeys {
    store: Store,
    /// As the Secrets have them: a pass over many notebooks parses no key that it knows.
    written: BTreeMap<NotebookId, ByteString>,
    begun: bool,
}

impl HostKeys {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, written: BTreeMap::new(), begun: false }
    }

    /// Writes those of all Secrets that are in place, where they have changed; whether they are written.
    pub(super) async fn write<'a>(&mut self, secrets: impl Iterator<Item = (&'a NotebookId, &'a Secret)>) -> bool {
        let mut count = 0;
        let lines: Vec<(&NotebookId, &ByteString)> =
            secrets.filter_map(|(id, secret)| Some((id, line(secret)?))).collect();
        for (id, line) in &lines {
            count += usize::from(self.written.get(*id) == Some(*line));
        }
        if self.begun && count == lines.len() && count == self.written.len() {
            return true;
        }
        let keys = lines.iter().filter_map(|(id, line)| Some(((*id).clone(), parse(line)?))).collect();
        if let Err(error) = self.store.set_host_keys(&keys).await {
            tracing::warn!("noting the host keys of notebooks: {error:#}");
            return false;
        }
        self.written = lines.into_iter().map(|(id, line)| (id.clone(), line.clone())).collect();
        self.begun = true;
        true
    }
}

fn line(secret: &Secret) -> Option<&ByteString> {
    secret.data.as_ref()?.get(plan::HOST_KEY_PUBLIC)
}

fn parse(line: &ByteString) -> Option<PublicKey> {
    PublicKey::parse(std::str::from_utf8(&line.0).ok()?).ok().map(|(key, _)| key)
}
