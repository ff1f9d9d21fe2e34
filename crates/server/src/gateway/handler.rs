//! What russh asks about one client: who it is, and what it may open. Everything that is not named here is refused.
//!
//! The state of a sign-in is set by a verified signature alone and forgotten at every other step, so that nothing
//! survives a change of user name, method or key in mid-sign-in. The user name never decides who somebody is; one name asks
//! for less: `confirm`, under which a key may sign in that is only claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_model::{Fingerprint, Person, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, Disconnect, Error, Pty};
use ssh_key::{Algorithm, Certificate};
use tokio::sync::watch;

use super::connection::{Connection, Progress};
use super::limits::Seat;
use super::refusal::{Ending, Refusal};
use super::stream::Allowance;
use super::{Shared, console, tunnel};
use crate::clock::now;
use crate::metrics::Outcome;

/// The login name that a key which is only claimed signs in by. By any other it is unknown: else whoever claims the key
/// of somebody else would have that person's ssh sign in with it, instead of with the one that counts.
pub(super) const CONFIRM: &str = "confirm";

/// One client.
pub(super) struct Client {
    shared: Arc<Shared>,
    from: SocketAddr,
    seat: Seat,
    progress: watch::Sender<Progress>,
    allowance: Arc<Allowance>,
    /// Set by a verified signature, taken when the sign-in succeeds with it.
    signed: Option<Signed>,
    connection: Option<Arc<Connection>>,
    /// Session channels, and whether each has got its one command.
    consoles: BTreeMap<u32, bool>,
    /// Kinds of requests that were refused and written down: once each, or a client could fill the audit trail.
    noted: BTreeSet<&'static str>,
}

/// Whose key signed.
struct Signed {
    key: Fingerprint,
    /// Nobody's, while it is only claimed.
    person: Option<Person>,
}

impl Client {
    pub(super) fn new(
        shared: Arc<Shared>,
        from: SocketAddr,
        seat: Seat,
        progress: watch::Sender<Progress>,
        allowance: Arc<Allowance>,
    ) -> Self {
        let (consoles, noted) = (BTreeMap::new(), BTreeSet::new());
        Self { shared, from, seat, progress, allowance, signed: None, connection: None, consoles, noted }
    }

    /// Whom a key signs in, if its holder can sign with it: its person, or nobody while it is claimed.
    fn recognise(&self, user: &str, key: &ssh_key::PublicKey, algorithm: &Algorithm) -> Option<Signed> {
        let key = PublicKey::from_data(key.key_data()).ok()?.fingerprint().clone();
        // RSA with SHA-1: it can be forged.
        let weak = matches!(algorithm, Algorithm::Rsa { hash: None });
        let world = self.shared.worlds.borrow();
        let person = world.person_of(&key).cloned();
        let known = person.is_some() || (user == CONFIRM && world.is_claimed(&key, now()));
        if weak || !known {
            drop(world);
            self.progress.send_replace(Progress::Waiting(Some(key)));
            return None;
        }
        Some(Signed { key, person })
    }

    /// Writes down a refused kind of request.
    fn note(&mut self, kind: &'static str) {
        self.shared.metrics.requests_refused.get_or_create(&Outcome { outcome: kind }).inc();
        if let Some(connection) = &self.connection
            && self.noted.insert(kind)
        {
            connection.audit("request-refused", None, kind);
        }
    }

    async fn refuse_kind(&mut self, kind: &'static str, reply: ChannelOpenHandle) {
        self.note(kind);
        if let Some(connection) = &self.connection {
            connection.count_refusal();
        }
        reply.reject(Refusal::Kind.answer()).await;
    }

    /// Whether this channel is a session that has had no command yet; from now on it has.
    fn starts(&mut self, channel: ChannelId) -> bool {
        self.consoles.get_mut(&channel.into()).is_some_and(|started| !std::mem::replace(started, true))
    }
}

impl Handler for Client {
    type Error = Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, Error> {
        let banner = &self.shared.settings.banner;
        Ok((!banner.is_empty()).then(|| format!("{}\r\n", banner.trim_end())))
    }

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Error> {
        self.signed = None;
        Ok(Auth::reject())
    }

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Error> {
        self.signed = None;
        let known = self.recognise(user, offer.public_key, offer.algorithm).is_some();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        self.signed = self.recognise(user, key.public_key, key.algorithm);
        Ok(if self.signed.is_some() { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_openssh_certificate(&mut self, _user: &str, _certificate: &Certificate) -> Result<Auth, Error> {
        self.signed = None;
        Ok(Auth::reject())
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        let Signed { key, person } = self.signed.take().ok_or(Error::Inconsistent)?;
        self.allowance.lift();
        if let Some(person) = &person
            && let Err(full) = self.seat.sign_in(person)
        {
            self.shared.metrics.requests_refused.get_or_create(&Outcome { outcome: full.word() }).inc();
            let told = Ending::TooManyConnections.told();
            return session.disconnect(Disconnect::TooManyConnections, told, "en");
        }
        if let Some(person) = &person {
            self.shared.recorder.sign_in(person.clone(), key.clone(), now());
        }
        let shared = Arc::clone(&self.shared);
        let connection = Connection::new(shared, self.from, key, person, session.remote_sshid(), session.handle());
        self.connection = Some(Arc::clone(&connection));
        self.progress.send_replace(Progress::SignedIn(connection));
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let Some(connection) = self.connection.clone() else { return Err(Error::Inconsistent) };
        let target = tunnel::target(&connection, host, port);
        let opened = target.and_then(|(person, grant)| Ok((person, grant, connection.take_channel()?)));
        match opened {
            Ok((person, grant, place)) => {
                let tunnel = tunnel::open(Arc::clone(&connection), person, grant, channel, reply, place);
                connection.tasks.spawn(tunnel);
            }
            Err(refusal) => {
                tunnel::refused(&connection, &tunnel::printable(host), refusal);
                reply.reject(refusal.answer()).await;
            }
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        let Some(connection) = self.connection.clone() else { return Err(Error::Inconsistent) };
        match connection.take_channel() {
            Ok(place) => {
                self.consoles.insert(channel.id().into(), false);
                reply.accept().await;
                connection.tasks.spawn(console::run(Arc::clone(&connection), channel, place));
            }
            Err(refusal) => {
                self.note(refusal.word());
                connection.count_refusal();
                reply.reject(refusal.answer()).await;
            }
        }
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_kind("x11-channel", reply).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host: &str,
        _port: u32,
        _originator: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_kind("forwarded-tcpip", reply).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        self.refuse_kind("direct-streamlocal", reply).await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.consoles.remove(&channel.into());
        Ok(())
    }

    async fn exec_request(&mut self, channel: ChannelId, _data: &[u8], session: &mut Session) -> Result<(), Error> {
        // The command itself comes to the channel's own task.
        if self.starts(channel) { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        // Not a shell: the channel's task answers it with the list of commands.
        self.note("shell");
        if self.starts(channel) { session.channel_success(channel) } else { session.channel_failure(channel) }
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.note("pty");
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.note("x11");
        session.channel_failure(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.note("env");
        session.channel_failure(channel)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, session: &mut Session) -> Result<(), Error> {
        self.note("subsystem");
        session.channel_failure(channel)
    }

    async fn agent_request(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<bool, Error> {
        self.note("agent");
        Ok(false)
    }

    async fn tcpip_forward(&mut self, _host: &str, _port: &mut u32, _session: &mut Session) -> Result<bool, Error> {
        self.note("tcpip-forward");
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, _path: &str, _session: &mut Session) -> Result<bool, Error> {
        self.note("streamlocal-forward");
        Ok(false)
    }
}
