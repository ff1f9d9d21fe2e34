//! Turns at reading sessions: these are the page's long reads, and whoever takes a key away needs the same connections
//! to the database.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fairlead_model::Person;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::Refused;

/// At once, in one process.
const OF_ALL: usize = 2;
/// Of one person: one reads, and one waits for that.
const OF_ONE: usize = 2;
/// How long somebody waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Gives turns.
#[derive(Debug, Clone)]
pub(super) struct Reads {
    all: Arc<Semaphore>,
    people: Arc<Mutex<BTreeMap<Person, Queue>>>,
}

/// Of one person.
#[derive(Debug)]
struct Queue {
    one: Arc<Semaphore>,
    length: usize,
}

/// A turn; the next one's begins when this is gone.
#[derive(Debug)]
pub(super) struct Turn {
    _permits: [OwnedSemaphorePermit; 2],
    _place: Place,
}

/// A place in a person's queue.
#[derive(Debug)]
struct Place {
    reads: Reads,
    person: Person,
}

impl Default for Reads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(OF_ALL)), people: Arc::default() }
    }
}

impl Reads {
    /// Waits for a turn. Who has another one, and a second that waits for it, is refused.
    pub(super) async fn turn(&self, person: &Person) -> Result<Turn, Refused> {
        let (place, one) = self.place(person).ok_or(Refused::Busy)?;
        let permits = async {
            // The person's first: who waits for themselves keeps nobody else waiting.
            let own = one.acquire_owned().await.ok()?;
            Some([own, self.all.clone().acquire_owned().await.ok()?])
        };
        let permits = timeout(PATIENCE, permits).await.ok().flatten().ok_or(Refused::Busy)?;
        Ok(Turn { _permits: permits, _place: place })
    }

    fn place(&self, person: &Person) -> Option<(Place, Arc<Semaphore>)> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Queue { one: Arc::new(Semaphore::new(1)), length: 0 };
        let queue = people.entry(person.clone()).or_insert_with(new);
        if queue.length >= OF_ONE {
            return None;
        }
        queue.length += 1;
        Some((Place { reads: self.clone(), person: person.clone() }, queue.one.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut people = self.reads.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(queue) = people.get_mut(&self.person) {
            queue.length -= 1;
            if queue.length == 0 {
                people.remove(&self.person);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: usize) -> Person {
        Person::parse(&format!("p{number}@example.com")).unwrap()
    }

    #[tokio::test]
    async fn a_person_reads_once_at_a_time_and_everybody_twice() {
        let reads = Reads::default();
        let first = reads.turn(&person(0)).await.unwrap();
        let waiting = tokio::spawn({
            let reads = reads.clone();
            async move { reads.turn(&person(0)).await }
        });
        tokio::task::yield_now().await;
        assert!(matches!(reads.turn(&person(0)).await, Err(Refused::Busy)), "one reads and one waits");
        let other = timeout(Duration::from_secs(1), reads.turn(&person(1))).await.expect("another has a turn").unwrap();
        assert!(timeout(Duration::from_millis(200), reads.turn(&person(2))).await.is_err(), "two read");
        drop(first);
        let second = timeout(Duration::from_secs(1), waiting).await.expect("the person's next turn").unwrap().unwrap();
        assert!(matches!(reads.turn(&person(2)).await, Err(Refused::Busy)), "nobody waits for ever");
        drop((second, other));
        assert!(reads.people.lock().unwrap().is_empty());
    }
}
