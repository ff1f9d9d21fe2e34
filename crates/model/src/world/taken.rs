//! Addresses that are a node's or a Service's, and so no Pod's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Fact, Kind};

/// By whose they are, and how many have each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Taken {
    by: BTreeMap<String, BTreeSet<IpAddr>>,
    counts: BTreeMap<IpAddr, usize>,
}

impl Taken {
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        self.counts.contains_key(&ip)
    }

    /// Whether these are known to be all of somebody's.
    pub(super) fn knows(&self, whose: &str, addresses: &BTreeSet<IpAddr>) -> bool {
        self.by.get(whose).map_or_else(|| addresses.is_empty(), |known| known == addresses)
    }

    /// Makes these all of somebody's.
    pub(super) fn put(&mut self, whose: String, addresses: BTreeSet<IpAddr>) {
        for ip in self.by.remove(&whose).into_iter().flatten() {
            match self.counts.get_mut(&ip) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.counts.remove(&ip)),
            }
        }
        for ip in &addresses {
            *self.counts.entry(*ip).or_default() += 1;
        }
        if !addresses.is_empty() {
            self.by.insert(whose, addresses);
        }
    }

    /// All of a kind, with whose they are.
    pub(super) fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &BTreeSet<IpAddr>)> {
        let prefix = if kind == Kind::Node { "node " } else { "service " };
        self.by.iter().filter(move |(whose, _)| whose.starts_with(prefix))
    }

    /// The facts that what is here of a kind, and not in `listed`, is gone.
    pub(super) fn gone(&self, kind: Kind, listed: &BTreeSet<(&str, &str)>) -> impl Iterator<Item = Fact> {
        let gone = self.of(kind).filter(|(whose, _)| !listed.contains(&("", whose.as_str())));
        gone.map(|(whose, _)| Fact::Taken(whose.clone(), BTreeSet::new()))
    }

    /// Addresses that are in one of two and not in the other.
    pub(super) fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<IpAddr> {
        let only = |these: &'a Self, those: &'a Self| these.counts.keys().filter(|ip| !those.contains(**ip));
        only(self, other).chain(only(other, self)).copied().collect()
    }
}
