//! A channel to a notebook, from its request to its end: decided, dialled, greeted, recorded, relayed; and decided
//! again whenever the world changes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fairlead_model::{Grant, NotebookId, Person, Time, World, access};
use russh::Channel;
use russh::server::{ChannelOpenHandle, Msg};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::{Instrument as _, info, info_span};

use super::Shared;
use super::connection::Connection;
use super::live::Place;
use super::refusal::{Ending, Refusal};
use super::relay::{self, Finished};
use super::stream;
use crate::clock::now;
use crate::metrics::Outcome;
use crate::store::sessions::{SessionBegin, SessionEnd};

/// What an sshd says first (RFC 4253, 4.2). Lines before it are allowed to a server, and OpenSSH sends none.
const GREETING: &[u8] = b"SSH-";
/// How long a notebook may take what its client sent before it left.
const LINGER: Duration = Duration::from_secs(5);

/// Reads and decides a request. The port is looked at last: a stranger learns nothing by it.
pub(super) fn target(connection: &Connection, host: &str, port: u32) -> Result<(Person, Grant), Refusal> {
    let person = connection.person.as_ref().ok_or(Refusal::Claimed)?;
    let id = NotebookId::from_host(host, &connection.shared.settings.suffix).map_err(|_| Refusal::NoName)?;
    let grant = access::decide(&connection.shared.worlds.borrow(), person, &id).map_err(Refusal::Denied)?;
    if port != u32::from(access::SSHD_PORT) && port != 22 {
        return Err(Refusal::Port);
    }
    Ok((person.clone(), grant))
}

/// Writes down a refused target, and counts it.
pub(super) fn refused(connection: &Connection, host: &str, refusal: Refusal) {
    connection.shared.metrics.sessions.get_or_create(&Outcome { outcome: refusal.word() }).inc();
    connection.audit("target-refused", Some(host.to_owned()), refusal.word());
    connection.count_refusal();
}

/// What of a client's text may stand in a record: printable ASCII, at most 100 characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }).take(100).collect()
}

/// Opens a channel to a granted notebook, and carries it to its end.
pub(super) async fn open(
    connection: Arc<Connection>,
    person: Person,
    grant: Grant,
    channel: Channel<Msg>,
    reply: ChannelOpenHandle,
    place: OwnedSemaphorePermit,
) {
    let Ok(id) = crate::random::id() else { return };
    let span = info_span!("session", session = %id, notebook = %grant.notebook());
    let carry = async {
        let shared = &connection.shared;
        let began = Instant::now();
        let reached = tokio::select! {
            reached = dial(shared, &grant) => reached,
            _ = connection.ended() => return,
        };
        let (pod, greeting) = match reached {
            Ok(reached) => reached,
            Err(refusal) => {
                refused(&connection, &grant.notebook().host(&shared.settings.suffix), refusal);
                reply.reject(refusal.answer()).await;
                return;
            }
        };
        shared.metrics.session_open_seconds.observe(began.elapsed().as_secs_f64());
        let session = SessionBegin {
            id: id.clone(),
            gateway: shared.id.clone(),
            person: person.clone(),
            key: connection.key.clone(),
            notebook: grant.notebook().clone(),
            pod: grant.pod().to_owned(),
            way: "jump".to_owned(),
            from: connection.from.to_string(),
            client: connection.client.clone(),
            at: now(),
        };
        // Its end is told by how long it was: the wall clock may be set meanwhile, and it would end before it began.
        let (start, at) = (Instant::now(), session.at);
        // Before it can be seen: somebody may ask for its end at once.
        let mut live = shared.live.enter(&id);
        shared.recorder.begin(session).await;
        shared.metrics.sessions.get_or_create(&Outcome { outcome: "opened" }).inc();
        shared.metrics.sessions_active.inc();
        info!("session begins");
        reply.accept().await;
        let channel_id = channel.id();
        let traffic = live.traffic.clone();
        let relay = relay::run(channel, pod, greeting, &traffic, &shared.metrics);
        let why = carry(&connection, &person, &grant, &mut live, relay).await;
        // Its last bytes come with its end, and not by the heartbeat any more.
        drop(live);
        let (up, down) = traffic.now();
        info!(reason = why.logged(), bytes_up = up, bytes_down = down, "session ends");
        let at = Time(at.0.saturating_add(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX)));
        shared.recorder.end(SessionEnd { id, at, bytes_up: up, bytes_down: down, reason: why.reason() });
        shared.metrics.sessions_active.dec();
        shared.metrics.sessions_ended.get_or_create(&Outcome { outcome: why.word() }).inc();
        if why.is_cut() {
            connection.audit("session-cut", Some(grant.notebook().to_string()), why.reason());
        }
        if connection.has_one_channel() && why.is_cut() {
            // Nothing else runs in it: then the client can be told why.
            connection.end(why);
        } else {
            // A relay that ended by itself has closed the channel already, which makes this do nothing.
            let _ = connection.handle.close(channel_id).await;
        }
        drop(place);
    };
    carry.instrument(span).await;
}

/// Waits for the relay's own end, for the end of the right, for somebody who asks, or for the connection's end.
/// Whatever ends first, the relay is gone with this function, and with it the owner of the channel.
async fn carry(
    connection: &Connection,
    person: &Person,
    grant: &Grant,
    live: &mut Place<'_>,
    relay: impl Future<Output = Finished>,
) -> Ending {
    let mut relay = pin!(relay);
    let finished = tokio::select! {
        // The right first: it may have gone while the Pod was dialled.
        biased;
        why = lost_right(connection, person, grant) => return why,
        by = live.asked() => return Ending::Asked(by),
        why = connection.ended() => {
            if !why.is_cut() {
                let _ = timeout(LINGER, relay).await;
            }
            return why;
        }
        finished = &mut relay => finished,
    };
    match finished {
        Finished::Closed => Ending::Closed,
        Finished::ConnectionGone => connection.ended().await,
        Finished::Broken(error) => Ending::Error(format!("the notebook's side broke: {}", error.kind())),
    }
}

/// Ends when the person may no longer reach this very Pod, or the key is no longer theirs.
async fn lost_right(connection: &Connection, person: &Person, grant: &Grant) -> Ending {
    let mut worlds = connection.shared.worlds.clone();
    loop {
        if let Some(why) = lost(&worlds.borrow_and_update(), connection, person, grant) {
            return why;
        }
        if worlds.changed().await.is_err() {
            // The ledger has ended, and the process with it: nothing more will be learnt.
            std::future::pending::<()>().await;
        }
    }
}

fn lost(world: &World, connection: &Connection, person: &Person, grant: &Grant) -> Option<Ending> {
    if world.person_of(&connection.key) != Some(person) {
        return Some(Ending::KeyRemoved);
    }
    match access::decide(world, person, grant.notebook()) {
        Ok(now) if now.pod() != grant.pod() => Some(Ending::PodReplaced),
        Ok(_) => None,
        Err(denied) => Some(Ending::Denied(denied)),
    }
}

/// Connects to a Pod and reads what it says first.
async fn dial(shared: &Shared, grant: &Grant) -> Result<(TcpStream, Bytes), Refusal> {
    let limits = &shared.settings.limits;
    let mut pod = match timeout(limits.dial, TcpStream::connect(grant.address())).await {
        Ok(Ok(pod)) => pod,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Err(Refusal::NoSshd),
        _ => return Err(Refusal::Unreachable),
    };
    stream::prepare(&pod, limits);
    let mut greeting = BytesMut::with_capacity(256);
    let read = async {
        while greeting.len() < GREETING.len() {
            match pod.read_buf(&mut greeting).await {
                Ok(0) | Err(_) => return Err(Refusal::Silent),
                Ok(_) => {}
            }
        }
        Ok(())
    };
    timeout(limits.greeting, read).await.unwrap_or(Err(Refusal::Silent))?;
    if !greeting.starts_with(GREETING) {
        return Err(Refusal::NotSsh);
    }
    Ok((pod, greeting.freeze()))
}
