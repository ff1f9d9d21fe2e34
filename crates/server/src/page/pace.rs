//! How fast a person changes keys: every change is read again by every process, and a script in the page's origin could
//! go on for ever.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fairlead_model::{Person, Time};

use super::Refused;

/// Changes of one person within [`WITHIN`], in one process.
const CHANGES: usize = 10;
/// In seconds.
const WITHIN: i64 = 60;

/// When each person changed keys lately.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<BTreeMap<Person, Vec<Time>>>);

impl Pace {
    /// Takes the place of one more change, if there is one. Taken before the change: many at once get no more.
    pub(super) fn take(&self, person: &Person, now: Time) -> Result<(), Refused> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.plus_seconds(-WITHIN);
        all.retain(|_, times| {
            times.retain(|time| *time > since);
            !times.is_empty()
        });
        let own = all.entry(person.clone()).or_default();
        if own.len() >= CHANGES {
            return Err(Refused::TooFast);
        }
        own.push(now);
        Ok(())
    }

    /// Gives back the place of a change that came to nothing.
    pub(super) fn give_back(&self, person: &Person, at: Time) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(person)
            && let Some(place) = own.iter().position(|time| *time == at)
        {
            own.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_with_time_and_with_what_came_to_nothing() {
        let (pace, now) = (Pace::default(), Time(1_795_000_000_000));
        let [alice, bob] = ["alice", "bob"].map(|name| Person::parse(&format!("{name}@example.com")).unwrap());
        for second in 0..10 {
            pace.take(&alice, now.plus_seconds(second)).unwrap();
        }
        assert!(pace.take(&alice, now.plus_seconds(59)).is_err());
        pace.take(&bob, now).unwrap();
        pace.give_back(&alice, now.plus_seconds(9));
        pace.take(&alice, now.plus_seconds(59)).unwrap();
        assert!(pace.take(&alice, now.plus_seconds(59)).is_err());
        pace.take(&alice, now.plus_seconds(60)).unwrap();
        assert!(pace.take(&alice, now.plus_seconds(60)).is_err(), "one minute gives back what is that old, no more");
        pace.take(&bob, now.plus_seconds(1000)).unwrap();
        assert_eq!(pace.0.lock().unwrap().len(), 1, "whoever is slow is forgotten");
    }
}
