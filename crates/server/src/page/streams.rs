//! How many event streams may be open: each costs memory and a little work at every change, and a browser that opens
//! many is broken or hostile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use fairlead_model::Person;

use super::Refused;

/// Of one person: every open tab has one.
const OF_ONE: usize = 20;
/// Of everybody, in one process.
const OF_ALL: usize = 1000;

/// Counts them.
#[derive(Debug, Clone, Default)]
pub(super) struct Streams(Arc<Mutex<BTreeMap<Person, usize>>>);

/// One of them; its place is free again when this is gone.
#[derive(Debug)]
pub(super) struct Seat {
    streams: Streams,
    person: Person,
}

impl Streams {
    /// A place for one more, if there is one.
    pub(super) fn open(&self, person: &Person) -> Result<Seat, Refused> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.values().sum::<usize>() >= OF_ALL || open.get(person).is_some_and(|own| *own >= OF_ONE) {
            return Err(Refused::Streams);
        }
        *open.entry(person.clone()).or_default() += 1;
        Ok(Seat { streams: self.clone(), person: person.clone() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get(&self.person).map_or(0, |own| own.saturating_sub(1));
        if left == 0 {
            open.remove(&self.person);
        } else {
            open.insert(self.person.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: usize) -> Person {
        Person::parse(&format!("p{number}@example.com")).unwrap()
    }

    #[test]
    fn a_person_has_so_many_and_everybody_together_so_many() {
        let streams = Streams::default();
        let mut seats: Vec<Seat> = (0..OF_ONE).map(|_| streams.open(&person(0)).unwrap()).collect();
        assert!(streams.open(&person(0)).is_err());
        seats.pop();
        seats.push(streams.open(&person(0)).unwrap());
        seats.extend((OF_ONE..OF_ALL).map(|number| streams.open(&person(number)).unwrap()));
        assert!(streams.open(&person(OF_ALL)).is_err());
        drop(seats);
        assert!(streams.open(&person(OF_ALL)).is_ok() && streams.0.lock().unwrap().is_empty());
    }
}
