//! Where two snapshots differ, told by what they still share: most of a cluster stays as it is from one to the next.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::World;
use crate::name::Label;

impl World {
    /// The namespaces where a decision, a state or an object of the plan may be another than in `before`. In all others
    /// everything is as it was.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> BTreeSet<Label> {
        if self.default_ssh != before.default_ssh
            || self.knows_keys != before.knows_keys
            || self.knows_switches != before.knows_switches
        {
            return self.spaces.keys().chain(before.spaces.keys()).cloned().collect();
        }
        let mut changed = self.changed_spaces(before);
        if !Arc::ptr_eq(&self.switched_off, &before.switched_off) {
            changed.extend(self.switched_off.symmetric_difference(&before.switched_off).cloned());
        }
        if !Arc::ptr_eq(&self.troubles, &before.troubles) {
            let (ours, theirs) = (&self.troubles, &before.troubles);
            let differing = ours.keys().chain(theirs.keys()).filter(|id| ours.get(*id) != theirs.get(*id));
            changed.extend(differing.map(|id| id.namespace.clone()));
        }
        changed.extend(self.with_other_keys(before).chain(self.with_other_addresses(before)).cloned());
        changed
    }

    /// The namespaces where an object differs.
    fn changed_spaces(&self, before: &Self) -> BTreeSet<Label> {
        if Arc::ptr_eq(&self.spaces, &before.spaces) {
            return BTreeSet::new();
        }
        let is_new = |(name, space): &(&Label, &Arc<_>)| {
            before.spaces.get(*name).is_none_or(|known| !Arc::ptr_eq(known, *space))
        };
        let new = self.spaces.iter().filter(is_new).map(|(name, _)| name);
        new.chain(before.spaces.keys().filter(|name| !self.spaces.contains_key(*name))).cloned().collect()
    }

    /// Whether something has changed that [`crate::plan::mesh::plan`] depends on.
    #[must_use]
    pub fn asks_for_other_policies(&self, before: &Self) -> bool {
        if self.default_ssh != before.default_ssh
            || !Arc::ptr_eq(&self.mesh, &before.mesh)
            || !Arc::ptr_eq(&self.switched_off, &before.switched_off)
        {
            return true;
        }
        let differs = |name: &Label| match (self.space(name), before.space(name)) {
            (Some(now), Some(before)) => {
                now.profile != before.profile || now.namespace != before.namespace || now.notebooks != before.notebooks
            }
            _ => true,
        };
        self.changed_spaces(before).iter().any(differs)
    }

    /// The namespaces of people whose keys differ.
    fn with_other_keys<'a>(&'a self, before: &Self) -> impl Iterator<Item = &'a Label> {
        let same = Arc::ptr_eq(&self.keys, &before.keys);
        let spaces = self.spaces.keys().filter(move |_| !same);
        spaces.filter(|name| self.people_of(name).keys().any(|person| !self.keys.same_of(&before.keys, person)))
    }

    /// The namespaces of Pods whose address came to be a node's or a Service's, or no longer is.
    fn with_other_addresses<'a>(&'a self, before: &Self) -> impl Iterator<Item = &'a Label> {
        let same = Arc::ptr_eq(&self.taken, &before.taken);
        let differing = if same { BTreeSet::new() } else { self.taken.differing(&before.taken) };
        let spaces = self.spaces.iter().filter(move |(_, space)| {
            !differing.is_empty() && space.pods.values().any(|pod| pod.ip.is_some_and(|ip| differing.contains(&ip)))
        });
        spaces.map(|(name, _)| name)
    }
}
