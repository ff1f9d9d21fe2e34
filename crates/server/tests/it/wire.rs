//! A client that says any message at any time, which no SSH library does: its own key exchange and packets (RFC 4253),
//! with curve25519 and AES-128-GCM, and no opinion about what may follow what.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use russh::keys::signature::Signer as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway_person::Client;

/// What this client calls itself.
const ID: &str = "SSH-2.0-wire";

/// A connection after its key exchange.
pub(crate) struct Wire {
    socket: TcpStream,
    ours: Sealed,
    theirs: Sealed,
    /// What signatures are made over, so that none serves in another connection.
    pub(crate) session: Vec<u8>,
}

/// One direction.
struct Sealed {
    key: LessSafeKey,
    iv: [u8; 12],
}

/// A message in the making.
#[derive(Clone)]
pub(crate) struct Message(pub(crate) Vec<u8>);

impl Message {
    pub(crate) fn new(number: u8) -> Self {
        Self(vec![number])
    }

    pub(crate) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        self.0.extend(u32::try_from(text.as_ref().len()).unwrap().to_be_bytes());
        self.0.extend(text.as_ref());
        self
    }

    pub(crate) fn number(mut self, number: u32) -> Self {
        self.0.extend(number.to_be_bytes());
        self
    }

    pub(crate) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    /// A request to sign in (RFC 4252), as far as its method.
    pub(crate) fn sign_in(user: &str, method: &str) -> Self {
        Self::new(50).text(user).text("ssh-connection").text(method)
    }

    /// A key that is offered, or said to sign.
    pub(crate) fn key(user: &str, signs: bool, key: &Client) -> Self {
        let blob = key.key().public_key().to_bytes().unwrap();
        Self::sign_in(user, "publickey").byte(signs.into()).text("ssh-ed25519").text(blob)
    }

    /// The same with a signature of `signer` over what `over` says, made for the connection `session`.
    pub(crate) fn signed(self, session: &[u8], over: &Self, signer: &Client) -> Self {
        let words = [&Self(Vec::new()).text(session).0[..], &over.0].concat();
        let signature: ssh_key::Signature = signer.key().try_sign(&words).unwrap();
        let signature = Self(Vec::new()).text("ssh-ed25519").text(signature.as_bytes());
        self.text(signature.0)
    }
}

impl Wire {
    /// Connects and exchanges keys; whose host key that is does not matter to it.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        socket.write_all(format!("{ID}\r\n").as_bytes()).await.unwrap();
        let mut id = Vec::new();
        while id.last() != Some(&b'\n') {
            id.push(socket.read_u8().await.unwrap());
        }
        let id = id.trim_ascii_end().to_vec();
        let cipher = "aes128-gcm@openssh.com";
        let lists = ["curve25519-sha256,kex-strict-c-v00@openssh.com", "ssh-ed25519", cipher, cipher];
        let lists = lists.into_iter().chain(["hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""]);
        let offer = lists.fold(Message(vec![20; 17]), Message::text).byte(0).number(0);
        socket.write_all(&plain(&offer.0)).await.unwrap();
        let theirs = read_plain(&mut socket).await;
        let private = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).unwrap();
        let public = private.compute_public_key().unwrap();
        socket.write_all(&plain(&Message::new(30).text(&public).0)).await.unwrap();
        let reply = read_plain(&mut socket).await;
        assert_eq!(reply[0], 31, "no answer to the key exchange");
        let (host, rest) = take(&reply[1..]);
        let (point, _) = take(rest);
        let hashed =
            Message(Vec::new()).text(ID).text(id).text(offer.0).text(theirs).text(host).text(&public).text(point);
        let (secret, session) = agree_ephemeral(private, UnparsedPublicKey::new(&X25519, point), (), |secret| {
            let secret = positive(secret);
            Ok((secret.clone(), digest(&SHA256, &[hashed.0, secret].concat()).as_ref().to_vec()))
        })
        .unwrap();
        assert_eq!(read_plain(&mut socket).await, [21]);
        socket.write_all(&plain(&[21])).await.unwrap();
        let derive = |letter: u8| digest(&SHA256, &[&secret[..], &session, &[letter], &session].concat());
        let sealed = |iv: u8, key: u8| Sealed {
            key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &derive(key).as_ref()[..16]).unwrap()),
            iv: derive(iv).as_ref()[..12].try_into().unwrap(),
        };
        let (ours, theirs) = (sealed(b'A', b'C'), sealed(b'B', b'D'));
        Self { socket, ours, theirs, session }
    }

    /// The same with the service in which people sign in.
    pub(crate) async fn ready(address: SocketAddr) -> Self {
        let mut wire = Self::connect(address).await;
        wire.say(Message::new(5).text("ssh-userauth")).await;
        // Accepted; then the gateway's banner.
        assert_eq!((wire.hear().await.unwrap()[0], wire.hear().await.unwrap()[0]), (6, 53));
        wire
    }

    /// The same, signed in.
    pub(crate) async fn signed_in(address: SocketAddr, client: &Client) -> Self {
        let mut wire = Self::ready(address).await;
        let request = Message::key("wire", true, client);
        wire.say(request.clone().signed(&wire.session, &request, client)).await;
        assert_eq!(wire.hear().await.unwrap(), [52]);
        wire
    }

    pub(crate) async fn say(&mut self, message: Message) {
        let packet = packet(&message.0, 0);
        let (length, body) = packet.split_at(4);
        let mut body = body.to_vec();
        let nonce = self.ours.next();
        self.ours.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body).unwrap();
        // The other side may have closed: then its silence is what the test sees.
        let _ = self.socket.write_all(&[length, &body].concat()).await;
    }

    /// The next message; none once the other side has closed.
    pub(crate) async fn hear(&mut self) -> Option<Vec<u8>> {
        let hear = async {
            let mut length = [0; 4];
            self.socket.read_exact(&mut length).await.ok()?;
            let mut body = vec![0; u32::from_be_bytes(length) as usize + 16];
            self.socket.read_exact(&mut body).await.ok()?;
            let nonce = self.theirs.next();
            let body = self.theirs.key.open_in_place(nonce, Aad::from(length), &mut body).unwrap();
            Some(unpadded(body))
        };
        tokio::time::timeout(Duration::from_secs(10), hear).await.expect("the gateway says nothing")
    }

    /// Says something, and gives back the number of what is answered, or 0 where the connection ends.
    pub(crate) async fn asks(&mut self, message: Message) -> u8 {
        self.say(message).await;
        self.hear().await.map_or(0, |message| message[0])
    }

    /// The first line that `whoami` prints, in a channel that the client calls `number`.
    pub(crate) async fn whoami(&mut self, number: u32) -> String {
        let window = 1 << 20;
        self.say(Message::new(90).text("session").number(number).number(window).number(window)).await;
        let opened = self.hear().await.expect("the gateway has closed");
        assert_eq!(opened[..5], [&[91][..], &number.to_be_bytes()].concat(), "no channel");
        let theirs = u32::from_be_bytes(opened[5..9].try_into().unwrap());
        self.say(Message::new(98).number(theirs).text("exec").byte(1).text("whoami")).await;
        let mut said = Vec::new();
        loop {
            let heard = self.hear().await.expect("the gateway has closed");
            match heard[0] {
                94 => said.extend_from_slice(take(&heard[5..]).0),
                // Of stderr there is also its number.
                95 => said.extend_from_slice(take(&heard[9..]).0),
                97 => return String::from_utf8(said).unwrap().lines().next().unwrap().to_owned(),
                number => assert!(matches!(number, 93 | 96 | 98 | 99), "{heard:?}"),
            }
        }
    }
}

impl Sealed {
    /// The nonce of the next packet (RFC 5647): its last 8 bytes count.
    fn next(&mut self) -> Nonce {
        let nonce = Nonce::assume_unique_for_key(self.iv);
        let count = u64::from_be_bytes(self.iv[4..].try_into().unwrap()).wrapping_add(1);
        self.iv[4..].copy_from_slice(&count.to_be_bytes());
        nonce
    }
}

/// A packet before the keys are in use.
pub(crate) fn plain(payload: &[u8]) -> Vec<u8> {
    packet(payload, 4)
}

/// Length, padding's length, payload, padding; a multiple of 16 with `counted` bytes of the length.
fn packet(payload: &[u8], counted: usize) -> Vec<u8> {
    let padding = 4 + (16 - (counted + 1 + payload.len() + 4) % 16) % 16;
    let length = u32::try_from(1 + payload.len() + padding).unwrap();
    [&length.to_be_bytes()[..], &[u8::try_from(padding).unwrap()], payload, &vec![0; padding]].concat()
}

/// The payload of the next packet before the keys are in use.
pub(crate) async fn read_plain(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let length = socket.read_u32().await.unwrap();
    let mut body = vec![0; length as usize];
    socket.read_exact(&mut body).await.unwrap();
    unpadded(&body)
}

fn unpadded(body: &[u8]) -> Vec<u8> {
    body[1..body.len() - usize::from(body[0])].to_vec()
}

/// The string that stands first, and what follows.
fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    bytes[4..].split_at(length)
}

/// A positive number as SSH writes it.
fn positive(bytes: &[u8]) -> Vec<u8> {
    let bytes = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap()..];
    let zero = if bytes[0] >= 0x80 { &[0][..] } else { &[] };
    Message(Vec::new()).text([zero, bytes].concat()).0
}
