//! A sign-in is one signature by one key: not an offer, not what was said before, and with no weak algorithm.

use std::time::Duration;

use fairlead_model::client_config::GATEWAY_ALIAS;
use russh::keys::PrivateKey;
use russh::keys::signature::Signer as _;

use crate::gateway_bed::Bed;
use crate::gateway_person::Client;
use crate::gateway_raw::{Anything, connect, hears, open};
use crate::wire::{Message, Wire};

const BERT: &str = "bert.team-a.notebook";

/// Signs with a key that is not the one it offered.
struct Forger(PrivateKey);

impl russh::Signer for Forger {
    type Error = anyhow::Error;

    async fn auth_sign(
        &mut self,
        _offered: &russh::keys::agent::AgentIdentity,
        _hash: Option<russh::keys::HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, anyhow::Error> {
        let signature: ssh_key::Signature = self.0.try_sign(&to_sign)?;
        let (kind, bytes) = (b"ssh-ed25519".as_slice(), signature.as_bytes());
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        let parts = [&length(kind)[..], kind, &length(bytes), bytes].concat();
        to_sign.extend([&length(&parts)[..], &parts].concat());
        Ok(to_sign)
    }
}

/// Offers the key of `owner`, and signs with that of `signer`.
async fn forges(session: &mut russh::client::Handle<Anything>, user: &str, owner: &Client, signer: &Client) -> bool {
    let offered = owner.key().public_key().clone();
    let mut signer = Forger(signer.key());
    session.authenticate_publickey_with(user, offered, None, &mut signer).await.is_ok_and(|result| result.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offered_key_is_no_login_until_that_very_key_has_signed() {
    let bed = Bed::start().await;
    let (alice, dave) = (bed.person("alice").await, bed.person("dave").await);
    let mallory = bed.stranger("mallory");
    let mut session = connect(bed.address).await;
    for user in ["alice", "alice", "bob", "alice@example.com", ""] {
        assert!(!forges(&mut session, user, &alice, &mallory).await, "{user}");
        assert!(!forges(&mut session, user, &alice, &dave).await, "{user}");
        assert!(!session.authenticate_none(user).await.unwrap().success());
        assert!(!session.authenticate_password(user, "x").await.unwrap().success());
    }
    // Nothing opens before a sign-in, whatever was offered.
    let early = tokio::time::timeout(Duration::from_millis(300), session.channel_open_session()).await;
    assert!(!matches!(early, Ok(Ok(_))));
    let mut session = connect(bed.address).await;
    // What was offered before leaves nothing behind: the key that signs is who it is, whatever the name says.
    assert!(!forges(&mut session, "alice", &alice, &mallory).await);
    assert!(!forges(&mut session, "dave", &alice, &dave).await);
    assert!(forges(&mut session, "alice@example.com", &dave, &dave).await);
    let mut channel = session.channel_open_session().await.unwrap();
    channel.exec(true, "whoami").await.unwrap();
    hears(&mut channel, b"dave@example.com\n").await;
    assert_eq!(open(&session, BERT, 2209).await.err(), Some(1));
    let mut session = connect(bed.address).await;
    assert!(forges(&mut session, "x", &alice, &alice).await);
    assert!(open(&session, BERT, 2209).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rsa_key_signs_with_sha2_and_never_with_sha1() {
    let bed = Bed::start().await;
    let alice = bed.client_with("alice", "rsa");
    bed.confirmed("alice", &alice).await;
    let blob = alice.key().public_key().to_bytes().unwrap();
    let mut wire = Wire::ready(bed.address).await;
    // OpenSSH would not even offer the first: it can be forged.
    for (algorithm, answer) in [("ssh-rsa", 51), ("rsa-sha2-256", 60), ("rsa-sha2-512", 60), ("ssh-rsa", 51)] {
        let offer = Message::sign_in("alice", "publickey").byte(0).text(algorithm).text(&blob);
        assert_eq!(wire.asks(offer).await, answer, "{algorithm}");
    }
    assert_eq!(alice.asks("whoami").await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_algorithms_without_known_weakness_are_offered() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let said = alice.runs(&["-vvv", GATEWAY_ALIAS, "whoami"]).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let server = said.err.split("peer server KEXINIT proposal").nth(1).unwrap();
    let line = |name: &str| server.lines().find_map(|line| line.split_once(name)?.1.strip_prefix(": ")).unwrap().trim();
    assert_eq!(
        line("KEX algorithms"),
        "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,ext-info-s,kex-strict-s-v00@openssh.com"
    );
    assert_eq!(line("host key algorithms"), "ssh-ed25519-cert-v01@openssh.com,ssh-ed25519");
    let ciphers = "aes128-gcm@openssh.com,aes256-gcm@openssh.com,chacha20-poly1305@openssh.com,aes256-ctr,aes128-ctr";
    assert_eq!((line("ciphers ctos"), line("ciphers stoc")), (ciphers, ciphers));
    assert_eq!(line("MACs ctos"), "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com");
    assert_eq!((line("compression ctos"), line("compression stoc")), ("none", "none"));
    assert!(said.err.contains("will use strict KEX ordering"), "{}", said.err);
    assert!(said.err.contains("cipher: aes128-gcm@openssh.com MAC: <implicit>"), "{}", said.err);
    let said = alice.runs(&["-oPubkeyAuthentication=no", "-oPreferredAuthentications=password", GATEWAY_ALIAS]).await;
    assert!(said.err.contains("Permission denied (publickey)."), "{said:?}");
}
