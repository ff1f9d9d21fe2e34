//! A client that does what OpenSSH would not: strange names, many channels, no reading. russh's own client.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use russh::client::{Config, Handle, Handler, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Error};

use crate::gateway_person::Client;

/// Takes any host key: what it connects to is this test's own gateway.
pub(crate) struct Anything;

impl Handler for Anything {
    type Error = Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, Error> {
        Ok(true)
    }
}

/// Connects, without signing in.
pub(crate) async fn connect(address: SocketAddr) -> Handle<Anything> {
    russh::client::connect(Arc::new(Config::default()), address, Anything).await.unwrap()
}

/// Signs in with a person's key.
pub(crate) async fn sign_in(address: SocketAddr, client: &Client) -> Handle<Anything> {
    let mut session = connect(address).await;
    let key = PrivateKeyWithHashAlg::new(Arc::new(client.key()), None);
    assert!(session.authenticate_publickey("raw", key).await.unwrap().success());
    session
}

/// Asks for a target; the code of RFC 4254 where it is refused.
pub(crate) async fn open(session: &Handle<Anything>, host: &str, port: u32) -> Result<Channel<Msg>, u32> {
    match session.channel_open_direct_tcpip(host, port, "127.0.0.1", 1).await {
        Ok(channel) => Ok(channel),
        Err(Error::ChannelOpenFailure(failure)) => Err(failure.code()),
        Err(error) => panic!("{error}"),
    }
}

/// Waits for data that contains this.
pub(crate) async fn hears(channel: &mut Channel<Msg>, wanted: &[u8]) {
    let mut heard = Vec::new();
    while !heard.windows(wanted.len()).any(|window| window == wanted) {
        match next(channel).await {
            Some(ChannelMsg::Data { data }) => heard.extend_from_slice(&data),
            Some(_) => {}
            None => panic!("the channel is gone, after {heard:?}"),
        }
    }
}

/// Shows that a channel to an sshd works: it answers our greeting by an offer of algorithms.
pub(crate) async fn works(channel: &mut Channel<Msg>) {
    channel.data(&b"SSH-2.0-probe\r\n"[..]).await.unwrap();
    hears(channel, b"curve25519-sha256").await;
}

/// Waits until the other side has closed a channel.
pub(crate) async fn closes(channel: &mut Channel<Msg>) {
    while !matches!(next(channel).await, None | Some(ChannelMsg::Close)) {}
}

/// The next message, soon.
pub(crate) async fn next(channel: &mut Channel<Msg>) -> Option<ChannelMsg> {
    tokio::time::timeout(Duration::from_secs(10), channel.wait()).await.expect("the channel says nothing")
}
