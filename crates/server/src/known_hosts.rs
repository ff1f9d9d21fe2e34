//! What one person's `known_hosts` should have: the host CAs, and the host keys to refuse that notebooks had before
//! which they may reach. Nobody learns the name of another notebook.

use std::collections::BTreeSet;

use anyhow::Result;
use fairlead_model::{HostSuffix, Label, Person, Time, World, client_config};

use crate::store::Store;

/// The lines; `authorities` are those about the CAs. Fails while the database is away.
pub(crate) async fn of(
    person: &Person,
    authorities: &str,
    suffix: &HostSuffix,
    world: &World,
    store: &Store,
    now: Time,
) -> Result<String> {
    let reaches = |namespace: &Label| world.role(person, namespace).is_some_and(fairlead_model::Role::opens_shells);
    let namespaces: BTreeSet<&Label> = world.namespaces_of(person).filter(|namespace| reaches(namespace)).collect();
    let revoked = store.revoked_host_keys(&namespaces, now).await?;
    let there = revoked.iter().filter(|(id, _)| world.notebook(id).is_some());
    let lines = there.map(|(id, key)| client_config::revoked_host_key(suffix, id, key));
    Ok(std::iter::once(authorities.to_owned()).chain(lines).collect())
}
