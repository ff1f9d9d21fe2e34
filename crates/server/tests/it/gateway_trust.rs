//! Which hosts the stock OpenSSH believes while the host CA is replaced, after one was withdrawn as compromised, and
//! after a notebook's host key was replaced.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::identity::{Authority, HostIdentity};
use fairlead_model::{Fact, HostSuffix, PublicKey};
use fairlead_server::clock;
use fairlead_server::identity_store::Identity;

use crate::gateway_bed::{Bed, Sshd, eventually, id, identity_at, identity_of, label, master, pod};

const BERT: &str = "bert.team-a.notebook";

fn next() -> Authority {
    Authority::from_openssh(&Authority::generate(&[10; 32]).unwrap()).unwrap()
}

/// The lines of `known_hosts` at a stage.
fn lines(authority: &Authority, next: Option<&Authority>, revoked: &[&Authority]) -> String {
    let revoked = revoked.iter().map(|authority| authority.public_line()).collect();
    let identity = Identity { authority: authority.clone(), next: next.cloned(), revoked, master: master() };
    identity.known_hosts(&HostSuffix::default())
}

/// bert's Pod is another one from now on, with this identity; it is named so.
async fn replace_bert(bed: &Bed, dir: &std::path::Path, name: &str, identity: &HostIdentity) -> Sshd {
    let sshd = Sshd::start(dir, name, identity);
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(pod("bert", name, sshd.ip)))).await;
    let mut worlds = bed.worlds.clone();
    let bert = id("team-a", "bert");
    worlds.wait_for(|world| world.pods_of(&bert).any(|(_, pod)| pod.ip == Some(sshd.ip))).await.unwrap();
    sshd
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_both_lines_gets_in_through_a_whole_rotation_and_whoever_has_the_old_one_until_the_switch() {
    let bed = Bed::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (old, next) = (bed.authority.clone(), next());
    let (alice, bob) = (bed.person("alice").await, bed.person("bob").await);

    // Both lines are given out, and the old one signs.
    bed.known_hosts.send_replace(lines(&old, Some(&next), &[]));
    assert_eq!(bob.learns("").await.lines().count(), 2);
    alice.gets_into(BERT).await.is_in("bert");
    bob.gets_into(BERT).await.is_in("bert");
    let mut live = alice.stays_in(BERT).await;

    // The next one signs, at the gateway first.
    bed.identity.send_replace(identity_of(&next, GATEWAY_ALIAS));
    bed.known_hosts.send_replace(lines(&next, None, &[]));
    bob.gets_into(BERT).await.is_in("bert");
    let refused = alice.gets_into(BERT).await;
    refused.is_refused("No ED25519 host key is known for fairlead-gateway and you have requested strict checking.");
    live.echoes("what is open stays open").await;
    let _bert = replace_bert(&bed, dir.path(), "signed-by-next", &identity_of(&next, BERT)).await;
    bob.gets_into(BERT).await.is_in("signed-by-next");

    // Whoever fetches the configuration now gets one line, with which the old CA's hosts are strangers.
    assert_eq!(bob.learns("").await, lines(&next, None, &[]));
    bob.gets_into(BERT).await.is_in("signed-by-next");
    let _bert = replace_bert(&bed, dir.path(), "signed-by-old", &identity_of(&old, BERT)).await;
    bob.gets_into(BERT).await.is_refused("Host key verification failed");
    alice.knows(&lines(&next, None, &[]));
    assert_eq!(alice.asks("whoami").await.code, Some(0), "the second line is all that was missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_withdrawn_ca_signed_is_refused_although_an_older_line_still_trusts_it() {
    let bed = Bed::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (old, next) = (bed.authority.clone(), next());
    let (alice, bob) = (bed.person("alice").await, bed.person("bob").await);
    let trusting = lines(&old, Some(&next), &[]);
    for client in [&alice, &bob] {
        client.knows(&trusting);
    }
    bed.identity.send_replace(identity_of(&next, GATEWAY_ALIAS));
    bed.known_hosts.send_replace(lines(&next, None, &[&old]));
    let given = bob.learns(&trusting).await;
    assert_eq!(given.lines().filter(|line| line.starts_with("@revoked *.notebook,fairlead-gateway ssh-")).count(), 1);

    // bert's Pod still shows what the old one signed: alice, who was not told, would talk to whoever stole it.
    alice.gets_into(BERT).await.is_in("bert");
    let refused = bob.gets_into(BERT).await;
    refused.is_refused("Host key verification failed");
    assert!(refused.err.contains("REVOKED"), "{refused:?}");
    let _bert = replace_bert(&bed, dir.path(), "signed-by-next", &identity_of(&next, BERT)).await;
    bob.gets_into(BERT).await.is_in("signed-by-next");
    // So is a gateway that goes on with it.
    bed.identity.send_replace(identity_of(&old, GATEWAY_ALIAS));
    eventually("the gateway shows it, and is refused", async || {
        Some(bob.asks("whoami").await).filter(|said| said.code == Some(255) && said.err.contains("REVOKED"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_that_somebody_took_along_is_refused_with_its_certificate_and_the_new_one_is_taken() {
    let bed = Bed::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (alice, carol, erin) = (bed.person("alice").await, bed.person("carol").await, bed.person("erin").await);
    let (taken, new) = (identity_of(&bed.authority, BERT), identity_at(&bed.authority, BERT, 1));
    let says = async |identity: &HostIdentity| {
        let key = PublicKey::parse(&identity.public).unwrap().0;
        let keys = [(id("team-a", "bert"), key)].into();
        bed.store.set_host_keys(&keys, &[id("team-a", "bert")].into(), clock::now()).await.unwrap();
    };
    says(&taken).await;
    assert_eq!(alice.learns("").await.lines().count(), 1);
    alice.gets_into(BERT).await.is_in("bert");

    // The epoch rises. Whoever shows the old key is refused, although its certificate is valid.
    says(&new).await;
    let key = PublicKey::parse(&taken.public).unwrap().0;
    let given = alice.learns("").await;
    assert!(given.ends_with(&format!("@revoked {BERT} {}\n", key.line())), "{given}");
    let refused = alice.gets_into(BERT).await;
    refused.is_refused("Host key verification failed");
    assert!(refused.err.contains("REVOKED"), "{refused:?}");
    let _bert = replace_bert(&bed, dir.path(), "with-the-new-key", &new).await;
    alice.gets_into(BERT).await.is_in("with-the-new-key");

    // Nobody else hears of it: neither who only views there, nor who has nothing to do with it.
    for stranger in [&carol, &erin] {
        assert_eq!(stranger.learns("").await.lines().count(), 1);
    }
}
