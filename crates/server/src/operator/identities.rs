//! The host identity of every notebook: derived, and kept for a while because signing takes time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::identity::{HostIdentity, host_identity};
use fairlead_model::{HostSuffix, Label, NotebookId, Person, Time, World};
use tokio::time::Instant;

use crate::identity_store::Identity;
use crate::logs::InARow;
use crate::store::Store;

/// Identities and what they depend on.
#[derive(Default)]
pub(super) struct Identities {
    made: BTreeMap<NotebookId, (String, u64, HostIdentity)>,
    epochs: BTreeMap<Label, (BTreeSet<Person>, u64)>,
    /// Profiles whose readers are still to be noted.
    unnoted: BTreeSet<Label>,
    /// When all epochs were read last.
    read: Option<Instant>,
    failures: InARow,
}

/// What came of noting readers.
pub(super) struct Noted {
    /// Profiles whose epoch may be another than before.
    pub(super) raised: BTreeSet<Label>,
    /// Whether everything is noted.
    pub(super) all: bool,
}

impl Identities {
    /// Forgets everything that was made, as after a change of the CA.
    pub(super) fn clear(&mut self) {
        self.made.clear();
    }

    /// Forgets one, so that its certificate is renewed in time.
    pub(super) fn forget(&mut self, id: &NotebookId) {
        self.made.remove(id);
    }

    /// Notes who can read the Secrets of the profiles in `changed` that have notebooks, which raises a profile's epoch
    /// when somebody left. While the database is away the last epochs stay: keys must go from Pods all the same.
    ///
    /// Every `resync` all epochs are read again, since another replica may have seen somebody leave who never came here.
    pub(super) async fn note_readers(
        &mut self,
        store: &Store,
        world: &World,
        changed: &BTreeSet<Label>,
        dry_run: bool,
        resync: Duration,
    ) -> Noted {
        let mut raised = BTreeSet::new();
        self.unnoted.extend(changed.iter().cloned());
        while let Some(namespace) = self.unnoted.pop_first() {
            if world.notebooks_in(&namespace).next().is_none() {
                self.epochs.remove(&namespace);
                continue;
            }
            let people = world.people_of(&namespace).into_iter();
            let readers: BTreeSet<Person> =
                people.filter(|(_, role)| role.opens_shells()).map(|(person, _)| person.clone()).collect();
            if self.epochs.get(&namespace).is_some_and(|(noted, _)| *noted == readers) {
                continue;
            }
            let epoch = if dry_run {
                store.epochs().await.map(|all| all.get(&namespace).copied().unwrap_or(0))
            } else {
                store.note_readers(&namespace, &readers).await
            };
            match epoch {
                Ok(epoch) => {
                    raised.insert(namespace.clone());
                    self.epochs.insert(namespace, (readers, epoch));
                }
                Err(error) => {
                    if self.failures.begin() {
                        tracing::warn!(%namespace, "noting who reads its Secrets; trying again: {error:#}");
                    }
                    self.unnoted.insert(namespace);
                    return Noted { raised, all: false };
                }
            }
        }
        let all = if self.read.is_some_and(|read| read.elapsed() < resync) {
            self.failures.end();
            true
        } else {
            self.read_epochs(store, &mut raised).await
        };
        Noted { raised, all }
    }

    /// Takes up epochs that others raised; an epoch never falls.
    async fn read_epochs(&mut self, store: &Store, raised: &mut BTreeSet<Label>) -> bool {
        match store.epochs().await {
            Ok(all) => {
                for (namespace, (_, epoch)) in &mut self.epochs {
                    let now = all.get(namespace).copied().unwrap_or(0).max(*epoch);
                    if now != *epoch {
                        raised.insert(namespace.clone());
                    }
                    *epoch = now;
                }
                self.read = Some(Instant::now());
                self.failures.end();
                true
            }
            Err(error) => {
                if self.failures.begin() {
                    tracing::warn!("reading epochs; trying again: {error:#}");
                }
                false
            }
        }
    }

    /// A notebook's identity; `None` while its profile's epoch is unknown.
    pub(super) fn of(
        &mut self,
        identity: &Identity,
        suffix: &HostSuffix,
        id: &NotebookId,
        uid: &str,
        now: Time,
    ) -> Result<Option<HostIdentity>> {
        let Some((_, epoch)) = self.epochs.get(&id.namespace) else { return Ok(None) };
        match self.made.get(id) {
            Some((of, at, made)) if of == uid && at == epoch => return Ok(Some(made.clone())),
            _ => {}
        }
        let made = host_identity(&identity.master, &identity.authority, uid, *epoch, &id.host(suffix), now)
            .with_context(|| format!("making the host identity of `{id}`"))?;
        self.made.insert(id.clone(), (uid.to_owned(), *epoch, made.clone()));
        Ok(Some(made))
    }
}
