//! Certificates are offered to the gateway and none is believed, whatever it says and whoever signed it: keys sign in.

use fairlead_model::identity::Authority;

use crate::gateway_bed::Bed;
use crate::gateway_person::{Client, finish};
use crate::wire::{Message, Wire};

const CERTIFICATE: &str = "ssh-ed25519-cert-v01@openssh.com";
const FAILURE: u8 = 51;
const SUCCESS: u8 = 52;

/// A certificate for alice's key, made by ssh-keygen with these words.
async fn certificate(alice: &Client, by: &std::path::Path, words: &[&str]) -> Vec<u8> {
    let mut sign = tokio::process::Command::new("ssh-keygen");
    let made = finish(sign.arg("-q").arg("-s").arg(by).args(["-I", "x"]).args(words).arg(alice.path("key.pub"))).await;
    assert_eq!(made.code, Some(0), "{made:?}");
    let line = std::fs::read_to_string(alice.path("key-cert.pub")).expect("a certificate");
    ssh_key::Certificate::from_openssh(&line).expect("a certificate").to_bytes().expect("its bytes")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_refused_whatever_it_says_and_its_key_is_taken_beside_it() {
    let bed = Bed::start().await;
    let (alice, mallory) = (bed.person("alice").await, bed.stranger("mallory"));
    // What signs host certificates signs nobody in: not even its owner makes people of them.
    let authority = alice.path("authority");
    std::fs::write(&authority, Authority::generate(&[9; 32]).expect("a host CA")).expect("written");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&authority, private).expect("private");
    for by in [mallory.path("key"), authority] {
        for words in [
            &["-n", "alice@example.com,jovyan,root"][..],
            // For everybody, as some servers read it.
            &[],
            &["-n", "alice@example.com", "-O", "critical:fairlead@example.com=1"],
            &["-n", "alice@example.com", "-O", "force-command=id"],
            &["-n", "alice@example.com", "-O", "source-address=203.0.113.9/32"],
            &["-n", "alice@example.com", "-V", "20200101:20200102"],
            &["-h", "-n", "alice@example.com"],
        ] {
            let blob = certificate(&alice, &by, words).await;
            let mut wire = Wire::ready(bed.address).await;
            let offer =
                |signs| Message::sign_in("alice@example.com", "publickey").byte(signs).text(CERTIFICATE).text(&blob);
            let signed = offer(1).signed(&wire.session, &offer(1), &alice);
            assert_eq!(wire.asks(signed).await, FAILURE, "{words:?}");
            // Also after it was asked whether it would do.
            let _ = wire.asks(offer(0)).await;
            let signed = offer(1).signed(&wire.session, &offer(1), &alice);
            assert_eq!(wire.asks(signed).await, FAILURE, "{words:?}");
            // The same connection takes the key itself, which leads to the same person.
            let request = Message::key("alice@example.com", true, &alice);
            let signed = request.clone().signed(&wire.session, &request, &alice);
            assert_eq!(wire.asks(signed).await, SUCCESS, "{words:?}");
            assert_eq!(wire.whoami(0).await, "alice@example.com");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_said_to_be_a_key_and_a_key_said_to_be_a_certificate_are_neither() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let blob = certificate(&alice, &alice.path("key"), &["-n", "alice@example.com"]).await;
    let key = alice.key().public_key().to_bytes().expect("its bytes");
    for (kind, blob) in [("ssh-ed25519", &blob), (CERTIFICATE, &key), ("ssh-rsa", &key), ("x", &key)] {
        let mut wire = Wire::ready(bed.address).await;
        let request = Message::sign_in("alice", "publickey").byte(1).text(kind).text(blob);
        let signed = request.clone().signed(&wire.session, &request, &alice);
        // Some are no message at all, which ends the connection.
        let answer = wire.asks(signed).await;
        assert!(matches!(answer, 0 | 1 | FAILURE), "{kind}: {answer}");
        assert_eq!(Wire::signed_in(bed.address, &alice).await.whoami(0).await, "alice@example.com");
    }
}
