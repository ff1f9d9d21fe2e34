//! The sessions that this gateway carries now: each can be asked to end, and tells what it has carried so far.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fairlead_model::Person;
use tokio::sync::oneshot;

use super::relay::Traffic;

/// All of them, by id.
#[derive(Debug, Default)]
pub(super) struct Live {
    sessions: Mutex<HashMap<String, Entry>>,
}

#[derive(Debug)]
struct Entry {
    traffic: Arc<Traffic>,
    /// Taken by the first who asks.
    end: Option<oneshot::Sender<Person>>,
    /// What is in the database.
    noted: (i64, i64),
}

/// A session's place among them, which it leaves when this is dropped.
pub(super) struct Place<'a> {
    live: &'a Live,
    id: &'a str,
    pub(super) traffic: Arc<Traffic>,
    asked: oneshot::Receiver<Person>,
}

impl Live {
    /// A session begins.
    pub(super) fn enter<'a>(&'a self, id: &'a str) -> Place<'a> {
        let (end, asked) = oneshot::channel();
        let traffic = Arc::<Traffic>::default();
        let entry = Entry { traffic: traffic.clone(), end: Some(end), noted: (0, 0) };
        self.lock().insert(id.to_owned(), entry);
        Place { live: self, id, traffic, asked }
    }

    /// Asks a session to end, if it is here and nobody has asked before.
    pub(super) fn end(&self, id: &str, by: Person) {
        if let Some(end) = self.lock().get_mut(id).and_then(|entry| entry.end.take()) {
            // It may be ending already.
            let _ = end.send(by);
        }
    }

    /// What sessions have carried that is not in the database: id, up, down.
    pub(super) fn unnoted(&self) -> Vec<(String, i64, i64)> {
        let sessions = self.lock();
        let changed = sessions.iter().filter_map(|(id, entry)| {
            let (up, down) = entry.traffic.now();
            (entry.noted != (up, down)).then(|| (id.clone(), up, down))
        });
        changed.collect()
    }

    /// These are in the database.
    pub(super) fn noted(&self, written: &[(String, i64, i64)]) {
        let mut sessions = self.lock();
        for (id, up, down) in written {
            if let Some(entry) = sessions.get_mut(id) {
                entry.noted = (*up, *down);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Waits until somebody asks for its end.
    pub(super) async fn asked(&mut self) -> Person {
        match (&mut self.asked).await {
            Ok(by) => by,
            // The sender stays in the map until this place is left.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.live.lock().remove(self.id);
    }
}

impl Traffic {
    /// Up and down.
    pub(super) fn now(&self) -> (i64, i64) {
        (self.up.load(Ordering::Relaxed), self.down.load(Ordering::Relaxed))
    }
}
