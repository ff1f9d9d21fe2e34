//! What the stories are about: people, keys and sessions at a fixed time.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use fairlead_model::{NotebookId, Person, PublicKey, Time};
use fairlead_server::store::audit::AuditEvent;
use fairlead_server::store::sessions::{SessionBegin, SessionEnd};

/// When the stories begin.
pub(crate) const NOW: Time = Time(1_795_000_000_000);

/// Somebody.
pub(crate) fn person(name: &str) -> Person {
    Person::parse(&format!("{name}@example.com")).unwrap()
}

/// A key that nobody else has; `number` tells them apart.
pub(crate) fn key(number: u8) -> PublicKey {
    let pair = ssh_key::private::Ed25519Keypair::from_seed(&[number; 32]);
    PublicKey::from_data(&ssh_key::public::KeyData::Ed25519(pair.public)).unwrap()
}

/// A session of alice's that begins `seconds` after [`NOW`].
pub(crate) fn begin(id: &str, seconds: i64) -> SessionBegin {
    SessionBegin {
        id: id.to_owned(),
        gateway: "gateway-1".to_owned(),
        person: person("alice"),
        key: key(1).fingerprint().clone(),
        notebook: NotebookId::parse("team-a", "bert").unwrap(),
        pod: "0b2c".to_owned(),
        way: "jump".to_owned(),
        from: "192.0.2.1:50000".to_owned(),
        client: "SSH-2.0-OpenSSH_9.2".to_owned(),
        at: NOW.plus_seconds(seconds),
    }
}

/// Its end.
pub(crate) fn end(id: &str, seconds: i64, reason: &str) -> SessionEnd {
    let at = NOW.plus_seconds(seconds);
    SessionEnd { id: id.to_owned(), at, bytes_up: 5_000_000_000, bytes_down: 7, reason: reason.to_owned() }
}

/// Something to audit.
pub(crate) fn event(word: &str, seconds: i64) -> AuditEvent {
    AuditEvent {
        at: NOW.plus_seconds(seconds),
        event: word.to_owned(),
        person: Some("alice@example.com".to_owned()),
        from: None,
        object: None,
        detail: Some("grün ✓".to_owned()),
    }
}
