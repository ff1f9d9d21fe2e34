//! One client's connection, from `accept` to its end: it must sign in in time, it ends when its key is no longer the
//! person's, and it does end, whatever the client does or does not read.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fairlead_model::{Fingerprint, Person};
use futures::FutureExt as _;
use futures::future::{Fuse, FusedFuture as _};
use russh::Disconnect;
use russh::server::{Config, Handle, RunningSession};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::Shared;
use super::handler::Client;
use super::limits::Seat;
use super::refusal::{Ending, Refusal};
use super::stream::{self, Allowance, Guarded};
use crate::clock::now;
use crate::metrics::Outcome;
use crate::store::audit::AuditEvent;

/// Under russh, which asks for a packet's length and then for the packet: one system call instead of two.
const READ_BUFFER: usize = 64 * 1024;
/// Each step of an end that a client could delay. Three of them fit into the second a lost right may last.
const STEP: Duration = Duration::from_millis(250);

/// A connection that has signed in.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    /// The client's address.
    pub(super) from: SocketAddr,
    /// The key that signed.
    pub(super) key: Fingerprint,
    /// Whose it is; nobody's while it is only claimed.
    pub(super) person: Option<Person>,
    /// What the client calls itself: printable ASCII, at most 100 characters.
    pub(super) client: String,
    /// To speak to the client from outside the library's loop.
    pub(super) handle: Handle,
    /// The tasks that own its channels.
    pub(super) tasks: TaskTracker,
    channels: Arc<Semaphore>,
    refusals: AtomicUsize,
    ending: watch::Sender<Option<Ending>>,
}

/// How far a sign-in got.
pub(super) enum Progress {
    /// A key was refused, or none was offered yet.
    Waiting(Option<Fingerprint>),
    /// It is through.
    SignedIn(Arc<Connection>),
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        from: SocketAddr,
        key: Fingerprint,
        person: Option<Person>,
        client: &[u8],
        handle: Handle,
    ) -> Arc<Self> {
        let channels = Arc::new(Semaphore::new(shared.settings.limits.channels));
        let client = client.iter().filter(|byte| matches!(byte, b' '..=b'~')).take(100).map(|byte| char::from(*byte));
        let (tasks, ending) = (TaskTracker::new(), watch::Sender::new(None));
        let (client, refusals) = (client.collect(), AtomicUsize::new(0));
        Arc::new(Self { shared, from, key, person, client, handle, tasks, channels, refusals, ending })
    }

    /// A place for one more channel.
    pub(super) fn take_channel(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        if self.shared.draining.is_cancelled() {
            return Err(Refusal::Draining);
        }
        Arc::clone(&self.channels).try_acquire_owned().map_err(|_| Refusal::TooMany)
    }

    /// Whether at most one channel is open, the caller's own.
    pub(super) fn has_one_channel(&self) -> bool {
        self.channels.available_permits() + 1 >= self.shared.settings.limits.channels
    }

    /// One more refused target or kind of channel; too many of them end it.
    pub(super) fn count_refusal(&self) {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed) + 1;
        if refusals >= self.shared.settings.limits.refusals {
            self.end(Ending::TooManyRefusals);
        }
    }

    /// Ends it. The first reason stays.
    pub(super) fn end(&self, why: Ending) {
        self.ending.send_if_modified(|ending| {
            let first = ending.is_none();
            if first {
                *ending = Some(why);
            }
            first
        });
    }

    /// Waits for the reason of its end.
    pub(super) async fn ended(&self) -> Ending {
        let mut ending = self.ending.subscribe();
        // The sender is in `self`: it cannot be gone.
        let ending = ending.wait_for(Option::is_some).await;
        ending.ok().and_then(|ending| ending.clone()).unwrap_or(Ending::Closed)
    }

    /// Writes an audit event about this connection.
    pub(super) fn audit(&self, event: &str, object: Option<String>, detail: impl Into<String>) {
        self.shared.recorder.audit(AuditEvent {
            at: now(),
            event: event.to_owned(),
            person: self.person.as_ref().map(ToString::to_string),
            from: Some(self.from.to_string()),
            object,
            detail: Some(detail.into()),
        });
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(shared: Arc<Shared>, config: Arc<Config>, socket: TcpStream, from: SocketAddr, seat: Seat) {
    let active = shared.metrics.connections_active.clone();
    active.inc();
    sign_in_and_serve(shared, config, socket, from, seat).await;
    active.dec();
}

async fn sign_in_and_serve(shared: Arc<Shared>, config: Arc<Config>, socket: TcpStream, from: SocketAddr, seat: Seat) {
    let deadline = Instant::now() + shared.settings.limits.sign_in;
    let signed = |outcome| shared.metrics.signins.get_or_create(&Outcome { outcome }).inc();
    let cut = CancellationToken::new();
    // However this ends, the socket ends with it.
    let _cut = cut.clone().drop_guard();
    let allowance = Allowance::new(shared.settings.limits.sign_in_bytes);
    let (progress, mut signed_in) = watch::channel(Progress::Waiting(None));
    stream::prepare(&socket, &shared.settings.limits);
    let stream = BufReader::with_capacity(READ_BUFFER, Guarded::new(socket, Arc::clone(&allowance), &cut));
    let client = Client::new(Arc::clone(&shared), from, seat, progress, allowance);
    let started = tokio::select! {
        started = timeout_at(deadline, russh::server::run_stream(config, stream, client)) => started,
        () = shared.draining.cancelled() => return,
    };
    let session = match started {
        Ok(Ok(session)) => session,
        Ok(Err(error)) => {
            debug!(%from, %error, "no SSH client");
            signed("no-ssh");
            return;
        }
        Err(_) => {
            signed("timeout");
            return;
        }
    };
    let handle = session.handle();
    // Fused: where it ended at once after the sign-in, it is asked again.
    let mut session = pin!(session.fuse());
    tokio::select! {
        _ = &mut session => {}
        _ = signed_in.wait_for(|progress| matches!(progress, Progress::SignedIn(_))) => {}
        () = tokio::time::sleep_until(deadline) => {}
        () = shared.draining.cancelled() => {}
    }
    let connection = signed_in.borrow().connection();
    if let Some(connection) = connection {
        signed(if connection.person.is_some() { "accepted" } else { "claimed" });
        supervise(&connection, handle, session, &cut).await;
        return;
    }
    signed(if Instant::now() >= deadline { "timeout" } else { "refused" });
    if let Progress::Waiting(Some(key)) = &*signed_in.borrow()
        && let Some(others) = shared.strangers.note(from.ip(), Instant::now())
    {
        let detail = if others == 0 { String::new() } else { format!(", and {others} more before it") };
        shared.recorder.audit(AuditEvent {
            at: now(),
            event: "sign-in-refused".to_owned(),
            person: None,
            from: Some(from.to_string()),
            object: Some(key.to_string()),
            detail: Some(format!("unknown-key{detail}")),
        });
    }
}

/// Waits for a reason to end a connection, and ends it: first the tasks that own its channels (while one of them does
/// not read, the library's loop waits for it and does nothing else), then a message to the client, then the socket.
async fn supervise(
    connection: &Connection,
    handle: Handle,
    mut session: Pin<&mut Fuse<RunningSession<Client>>>,
    cut: &CancellationToken,
) {
    let why = tokio::select! {
        result = &mut session, if !session.is_terminated() => match result {
            Err(russh::Error::KeepaliveTimeout) => Ending::Vanished,
            _ => Ending::Closed,
        },
        () = std::future::ready(()), if session.is_terminated() => Ending::Closed,
        why = connection.ended() => why,
        why = lost_sign_in(connection) => why,
        () = drained(connection) => Ending::Drained,
    };
    connection.end(why.clone());
    if !why.is_cut() {
        connection.tasks.close();
        connection.tasks.wait().await;
        return;
    }
    info!(from = %connection.from, reason = why.logged(), "connection cut");
    connection.tasks.close();
    let _ = timeout(STEP, connection.tasks.wait()).await;
    let reason =
        if why == Ending::TooManyConnections { Disconnect::TooManyConnections } else { Disconnect::ByApplication };
    let _ = timeout(STEP, handle.disconnect(reason, why.told().to_owned(), "en".to_owned())).await;
    let _ = timeout(STEP, &mut session).await;
    cut.cancel();
    connection.tasks.wait().await;
}

/// Ends when the key is no longer the person's, or was only claimed for too long.
async fn lost_sign_in(connection: &Connection) -> Ending {
    let Some(person) = &connection.person else {
        tokio::time::sleep(connection.shared.settings.limits.claimed).await;
        return Ending::ClaimTimeout;
    };
    let mut worlds = connection.shared.worlds.clone();
    if worlds.wait_for(|world| world.person_of(&connection.key) != Some(person)).await.is_err() {
        // The ledger has ended, and the process with it: nothing more will be learnt.
        std::future::pending::<()>().await;
    }
    Ending::KeyRemoved
}

/// Ends when the gateway shuts down: at once where no channel is open, else at the end of the time for draining.
async fn drained(connection: &Connection) {
    connection.shared.draining.cancelled().await;
    let all = u32::try_from(connection.shared.settings.limits.channels).unwrap_or(u32::MAX);
    tokio::select! {
        () = connection.shared.drained.cancelled() => {}
        _ = connection.channels.acquire_many(all) => {}
    }
}

impl Progress {
    fn connection(&self) -> Option<Arc<Connection>> {
        match self {
            Self::SignedIn(connection) => Some(Arc::clone(connection)),
            Self::Waiting(_) => None,
        }
    }
}
