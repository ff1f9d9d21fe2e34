//! Who gets in, who is told what, and by which keys: with the stock OpenSSH, strict about host keys.

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::{Fact, Role};

use crate::gateway_bed::{BANNER, Bed, id, label, pod, running};
use crate::gateway_person::finish;
use crate::gateway_raw::connect;

const BERT: &str = "bert.team-a.notebook";
const ERNIE: &str = "ernie.team-b.notebook";
const STRANGER: &str = "administratively prohibited: no such notebook, or it is not yours";

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_editor_get_in_and_everybody_else_is_refused_beside_them() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let bob = bed.person("bob").await;
    let carol = bed.person("carol").await;
    let dave = bed.person("dave").await;
    let erin = bed.person("erin").await;
    let unknown = bed.stranger("mallory");
    alice.gets_into(BERT).await.is_in("bert");
    bob.gets_into(BERT).await.is_in("bert");
    erin.gets_into(ERNIE).await.is_in("ernie");
    carol.gets_into(BERT).await.is_refused("your role in this profile is `view`");
    for (who, target) in [(&dave, BERT), (&erin, BERT), (&alice, ERNIE), (&dave, "none.team-a.notebook")] {
        who.gets_into(target).await.is_refused(STRANGER);
    }
    unknown.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    alice.gets_into("none.team-a.notebook").await.is_refused("there is no notebook of this name in the profile");
    bed.audited("target-refused", "viewer").await;
    let stranger = bed.audited("target-refused", "stranger").await;
    assert!(stranger.person.is_some() && stranger.from.is_some_and(|from| from.starts_with("127.0.0.1:")));
    let refused = bed.audited("sign-in-refused", "unknown-key").await;
    assert_eq!(refused.object.as_deref(), Some(unknown.public().fingerprint().as_str()));
    alice.gets_into(BERT).await.is_in("bert");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_the_right_is_told_what_is_wrong_with_the_notebook() {
    let mut bed = Bed::start().await;
    let alice = bed.person("alice").await;
    alice.gets_into(BERT).await.is_in("bert");
    let stopped = fairlead_model::world::Notebook { stopped: true, ..running("bert") };
    bed.fact(Fact::Notebook(id("team-a", "bert"), Some(stopped))).await;
    alice.gets_into(BERT).await.is_refused("the notebook is stopped");
    bed.fact(Fact::Notebook(id("team-a", "bert"), Some(running("bert")))).await;
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), None)).await;
    alice.gets_into(BERT).await.is_refused("the notebook is starting");
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(pod("bert", "2", bed.bert.ip)))).await;
    alice.gets_into(BERT).await.is_in("bert");
    bed.bert.stop();
    alice.gets_into(BERT).await.is_refused("connect failed: no sshd in this notebook's image");
    let audited = bed.audited("target-refused", "no-sshd").await;
    assert_eq!(audited.object.as_deref(), Some(BERT));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_on_the_port_and_is_no_sshd_is_never_confirmed() {
    let mut bed = Bed::with(|settings| settings.limits.greeting = std::time::Duration::from_millis(300)).await;
    let alice = bed.person("alice").await;
    alice.gets_into(BERT).await.is_in("bert");
    bed.bert.stop();
    let listener = tokio::net::TcpListener::bind((bed.bert.ip, 2209)).await.unwrap();
    let silent = tokio::join!(alice.gets_into(BERT), listener.accept());
    silent.0.is_refused("is open and says nothing");
    let web = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        socket
    };
    let (said, _socket) = tokio::join!(alice.gets_into(BERT), web);
    said.is_refused("is no sshd");
    assert!(bed.store.list_sessions(None, 10).await.unwrap().len() == 1, "a session that did not begin was recorded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_decides_and_never_the_user_name() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let dave = bed.person("dave").await;
    for user in ["root", "jovyan", "confirm", "dave@example.com", "", "alice@example.com\t", "../x", "%h"] {
        let jump = |user: &str| format!("-oUser={user}");
        let words = [jump(user), GATEWAY_ALIAS.to_owned(), "whoami".to_owned()];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "-oUser=").collect();
        let said = alice.runs(&words).await;
        assert!(said.code == Some(0) && said.out.starts_with("alice@example.com\n"), "{user:?}: {said:?}");
    }
    let said = dave.runs(&["-l", "alice@example.com", GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.out.starts_with("dave@example.com\n"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_that_is_taken_sign_in() {
    let bed = Bed::start().await;
    for (kind, name) in [("ed25519", "alice"), ("ecdsa", "bob"), ("rsa", "erin")] {
        let client = bed.client_with(name, kind);
        bed.confirmed(name, &client).await;
        let said = client.asks("whoami").await;
        assert!(said.code == Some(0) && said.out.starts_with(name), "{kind}: {said:?}");
        if kind == "rsa" {
            let said = client.runs(&["-oPubkeyAcceptedAlgorithms=ssh-rsa", GATEWAY_ALIAS, "whoami"]).await;
            assert!(said.code == Some(255), "an RSA key signed in with SHA-1: {said:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_certificate_of_a_registered_key_is_no_key() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mallory = bed.stranger("mallory");
    let mut sign = tokio::process::Command::new("ssh-keygen");
    let sign = sign.arg("-s").arg(mallory.path("key")).args(["-I", "alice", "-n", "alice@example.com,root"]);
    assert_eq!(finish(sign.arg(alice.path("key.pub"))).await.code, Some(0));
    let certificate = russh::keys::load_openssh_certificate(alice.path("key-cert.pub")).unwrap();
    let mut session = connect(bed.address).await;
    let key = std::sync::Arc::new(alice.key());
    assert!(!session.authenticate_openssh_cert("alice@example.com", key, certificate).await.unwrap().success());
    // OpenSSH offers the certificate first and then the key, by which the same person gets in.
    let certificate = format!("-oCertificateFile={}", alice.path("key-cert.pub").display());
    let said = alice.runs(&["-v", &certificate, GATEWAY_ALIAS, "whoami"]).await;
    let offers = said.err.matches("Offering public key").count();
    assert!(said.code == Some(0) && offers == 2 && said.err.contains("ED25519-CERT"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_proves_itself_by_certificate_also_after_a_renewal() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let said = alice.asks("whoami").await;
    assert!(said.code == Some(0) && said.err.contains(BANNER), "{said:?}");
    bed.identity.send_replace(bed.other_identity());
    let said = alice.runs(&["-v", GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.code == Some(0), "{said:?}");
    let other = bed.other_identity();
    let shown = ssh_key::PublicKey::from_openssh(&other.public).unwrap().fingerprint(ssh_key::HashAlg::Sha256);
    assert!(said.err.contains(&shown.to_string()), "not the renewed key: {said:?}");
    // Without the authority's line nobody connects, also not by a "yes".
    std::fs::write(alice.path("known_hosts"), "").unwrap();
    let said = alice.asks("whoami").await;
    assert!(said.code == Some(255) && said.err.contains("Host key verification failed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_editor_made_a_viewer_is_refused_and_made_an_editor_again_gets_in() {
    let bed = Bed::start().await;
    let bob = bed.person("bob").await;
    for (role, is_in) in [(Role::Edit, true), (Role::View, false), (Role::Admin, true)] {
        bed.member("bob", Some(role)).await;
        let said = bob.gets_into(BERT).await;
        if is_in { said.is_in("bert") } else { said.is_refused("`view`") }
    }
}
