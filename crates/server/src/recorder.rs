//! The queue between those who may not wait and the database, which may be away: records stay here, in order, until
//! they are written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fairlead_model::{Fingerprint, Person, Time};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::{sleep, timeout};

use crate::random;
use crate::store::Store;
use crate::store::audit::AuditEvent;
use crate::store::records::{Record, Unwritten};
use crate::store::sessions::{SessionBegin, SessionEnd};

/// How long the begin of a session waits until it is written.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many records wait in memory while the database is away: about 50 MB.
const LIMIT: usize = 100_000;
/// How many are written in one transaction.
const BATCH: usize = 256;
/// How long after a failure the database is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Takes records at once and writes them when it can. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
    /// How many records are not written yet.
    unwritten: watch::Sender<usize>,
    /// Makes ids of audit events that tell their order: this process' name and a count.
    name: String,
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    entries: VecDeque<Entry>,
    /// Whether records were lost since the queue was last empty, and that was said.
    lost: bool,
}

#[derive(Debug)]
struct Entry {
    record: Record,
    written: Option<oneshot::Sender<()>>,
}

impl Recorder {
    /// Starts writing to `store`, for as long as the runtime lives.
    #[must_use]
    pub fn start(store: Store) -> Self {
        let queue = Arc::new(Queue {
            waiting: Mutex::default(),
            more: Notify::new(),
            unwritten: watch::Sender::new(0),
            name: random::id().unwrap_or_else(|_| std::process::id().to_string()),
            count: AtomicU64::new(0),
        });
        tokio::spawn(write_all(store, queue.clone()));
        Self { queue }
    }

    /// Records the begin of a session. Returns once it is written, or after a second when the database is away; then
    /// it is written later.
    pub async fn begin(&self, begin: SessionBegin) {
        let (written, wait) = oneshot::channel();
        self.queue.push(Record::Begin(begin), Some(written));
        // Not in time, or lost because too many wait: the session goes on, and both are logged elsewhere.
        let _ = timeout(PATIENCE, wait).await;
    }

    /// Records the end of a session.
    pub fn end(&self, end: SessionEnd) {
        self.queue.push(Record::End(end), None);
    }

    /// Records an audit event, and logs it at once.
    pub fn audit(&self, event: AuditEvent) {
        log(&event);
        let count = self.queue.count.fetch_add(1, Ordering::Relaxed);
        self.queue.push(Record::Audit(format!("{count:016x}-{}", self.queue.name), event), None);
    }

    /// Records that a person signed in.
    pub fn sign_in(&self, person: Person, key: Fingerprint, at: Time) {
        self.queue.push(Record::SignIn(person, key, at), None);
    }

    /// Waits until everything is written, at most `patience`. How many records are not.
    pub async fn flush(&self, patience: Duration) -> usize {
        let mut unwritten = self.unwritten();
        let _ = timeout(patience, unwritten.wait_for(|count| *count == 0)).await;
        *self.unwritten().borrow()
    }

    /// How many records are not written yet.
    #[must_use]
    pub fn unwritten(&self) -> watch::Receiver<usize> {
        self.queue.unwritten.subscribe()
    }
}

/// The line of the log: JSON, whatever form the other lines have.
pub(crate) fn log(event: &AuditEvent) {
    let AuditEvent { at, event, person, from, object, detail } = event;
    tracing::info!(target: "audit", at = at.0, event, person, from, object, detail);
}

impl Queue {
    fn push(&self, record: Record, written: Option<oneshot::Sender<()>>) {
        let mut waiting = self.lock();
        if waiting.entries.len() >= LIMIT {
            waiting.make_room();
        } else {
            self.unwritten.send_modify(|count| *count += 1);
        }
        waiting.entries.push_back(Entry { record, written });
        drop(waiting);
        self.more.notify_one();
    }

    /// The oldest records, as soon as there are any.
    async fn take(&self) -> Vec<Entry> {
        loop {
            {
                let mut waiting = self.lock();
                let count = waiting.entries.len().min(BATCH);
                if count > 0 {
                    return waiting.entries.drain(..count).collect();
                }
                waiting.lost = false;
            }
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Gives up the oldest audit event, which was logged, or sign-in, which the next one makes good; where there is
    /// none, the oldest record.
    fn make_room(&mut self) {
        if !std::mem::replace(&mut self.lost, true) {
            tracing::error!(limit = LIMIT, "too many records wait for the database: the oldest audit events are lost");
        }
        let oldest =
            self.entries.iter().position(|entry| matches!(entry.record, Record::Audit(..) | Record::SignIn(..)));
        self.entries.remove(oldest.unwrap_or(0));
    }
}

async fn write_all(store: Store, queue: Arc<Queue>) {
    loop {
        let batch = queue.take().await;
        let count = batch.len();
        let (records, waiters): (Vec<_>, Vec<_>) = batch.into_iter().map(|entry| (entry.record, entry.written)).unzip();
        if write(&store, &records).await.is_err() {
            // One of them is refused for ever. It must not hold up the others.
            for record in &records {
                if let Err(error) = write(&store, std::slice::from_ref(record)).await {
                    log_lost(record, &error);
                }
            }
        }
        for waiter in waiters.into_iter().flatten() {
            // Whoever asked may have stopped waiting.
            let _ = waiter.send(());
        }
        queue.unwritten.send_modify(|unwritten| *unwritten -= count);
    }
}

/// Says that a record will never be written, and not what is in it: people, keys and addresses.
fn log_lost(record: &Record, error: &sqlx::Error) {
    let (kind, id) = record.name();
    tracing::error!(%error, kind, id, "a record is lost: the database does not take it");
}

/// Writes, however long the database is away. Fails only when the database refuses.
async fn write(store: &Store, records: &[Record]) -> Result<(), sqlx::Error> {
    let mut away = false;
    loop {
        match store.write_records(records).await {
            Ok(()) => {
                if away {
                    tracing::info!("the database is back, and what happened meanwhile is being written");
                }
                return Ok(());
            }
            Err(Unwritten::Refused(error)) => return Err(error),
            Err(Unwritten::Away(error)) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::warn!(%error, "records wait in memory: the database is away");
                }
                sleep(RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(number: usize) -> Record {
        let at = Time(i64::try_from(number).unwrap());
        let event = AuditEvent { at, event: String::new(), person: None, from: None, object: None, detail: None };
        Record::Audit(number.to_string(), event)
    }

    fn end(number: usize) -> Record {
        let at = Time(i64::try_from(number).unwrap());
        Record::End(SessionEnd { id: number.to_string(), at, bytes_up: 0, bytes_down: 0, reason: String::new() })
    }

    #[test]
    fn the_log_of_a_lost_record_names_no_person() {
        let (at, secret) = (Time(0), || Some("alice@example.com".to_owned()));
        let event = AuditEvent {
            at,
            event: secret().unwrap(),
            person: None,
            from: secret(),
            object: secret(),
            detail: secret(),
        };
        let output = Arc::new(Mutex::new(Vec::new()));
        let writer = output.clone();
        let logs = tracing_subscriber::fmt().with_writer(move || Log(writer.clone())).finish();
        tracing::subscriber::with_default(logs, || {
            log_lost(&Record::Audit("17-gw".to_owned(), event), &sqlx::Error::RowNotFound);
        });
        let text = String::from_utf8(output.lock().unwrap().clone()).unwrap();
        assert!(text.contains("audit event") && text.contains("17-gw") && !text.contains("alice"), "{text}");
    }

    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_full_queue_gives_up_the_oldest_audit_events_and_no_session() {
        let queue = Queue {
            waiting: Mutex::default(),
            more: Notify::new(),
            unwritten: watch::Sender::new(0),
            name: String::new(),
            count: AtomicU64::new(0),
        };
        for number in 0..LIMIT {
            queue.push(if number % 2 == 0 { end(number) } else { audit(number) }, None);
        }
        queue.push(end(LIMIT), None);
        queue.push(audit(LIMIT + 1), None);
        assert_eq!(*queue.unwritten.borrow(), LIMIT);
        let first: Vec<Record> = queue.take().await.into_iter().take(4).map(|entry| entry.record).collect();
        assert_eq!(first, [end(0), end(2), end(4), audit(5)]);
        let last = queue.lock().entries.back().map(|entry| entry.record.clone());
        assert_eq!(last, Some(audit(LIMIT + 1)));
    }
}
