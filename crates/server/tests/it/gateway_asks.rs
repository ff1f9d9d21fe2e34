//! What is asked for on the page reaches the gateway: a session's end, a further key's approval, a key's end.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::{Duration, Instant};

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_server::clock;
use fairlead_server::store::keys::{ClaimOptions, Needs};
use fairlead_server::store::sessions::SessionBegin;

use crate::gateway_bed::{Bed, eventually, id, person};
use crate::gateway_person::Client;
use crate::gateway_raw::{closes, hears, open, sign_in, works};

const BERT: &str = "bert.team-a.notebook";
const ERNIE: &str = "ernie.team-b.notebook";
/// The database is looked at twice a second.
const SOON: Duration = Duration::from_secs(3);

/// The open session to a notebook, once it is in the database.
async fn session_in(bed: &Bed, space: &str, notebook: &str) -> SessionBegin {
    eventually("a session in the database", async || {
        let live = bed.store.live_sessions().await.unwrap();
        live.into_iter().find(|session| session.notebook == id(space, notebook))
    })
    .await
}

/// A claim as a page makes it that shares its origin with notebooks; its code.
async fn claims(bed: &Bed, who: &str, client: &Client) -> String {
    let options = ClaimOptions { ends: None, shared_origin: true };
    let key = client.public();
    let claim = bed.store.claim_key_with(&person(who), &key, "laptop@home", options, clock::now()).await.unwrap();
    assert_eq!(claim.needs, Needs { own: true, older: true });
    let mut worlds = bed.worlds.clone();
    worlds.wait_for(|world| world.is_claimed(key.fingerprint(), clock::now())).await.unwrap();
    claim.code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_asked_to_end_is_cut_and_another_channel_of_its_connection_lives_on() {
    let bed = Bed::start().await;
    let erin = bed.person("erin").await;
    bed.member("erin", Some(fairlead_model::Role::Edit)).await;
    // Stock ssh, with one connection to the gateway that two sessions share.
    let (socket, config) = (erin.path("socket").display().to_string(), erin.path("config").display().to_string());
    let mut master = erin.ssh().args(["-M", "-N", "-S", &socket, GATEWAY_ALIAS]).spawn().unwrap();
    eventually("the shared connection", async || erin.path("socket").exists().then_some(())).await;
    let shared = format!("-oProxyCommand=ssh -F {config} -S {socket} -W %h:%p {GATEWAY_ALIAS}");
    let live = erin.stays(&[&shared, BERT, "echo in; exec cat"]).await;
    let mut other = erin.stays(&[&shared, ERNIE, "echo in; exec cat"]).await;
    let (session, stays) = (session_in(&bed, "team-a", "bert").await, session_in(&bed, "team-b", "ernie").await);

    assert!(bed.store.ask_end(&session.id, &person("alice"), clock::now()).await.unwrap());
    let (said, took) = live.ends().await;
    assert!(took < SOON && said.code == Some(255), "{took:?} {said:?}");
    other.echoes("still here").await;
    let end = eventually("its end", async || bed.store.session(&session.id).await.unwrap().unwrap().1).await;
    assert_eq!(end.reason, "ended by alice@example.com");
    assert!(end.bytes_up > 1000 && end.bytes_down > 1000, "{end:?}");
    bed.audited("session-cut", "ended by alice@example.com").await;
    bed.measures("fairlead_sessions_ended_total{outcome=\"ended-by-request\"} 1").await;
    assert_eq!(bed.store.session(&stays.id).await.unwrap().unwrap().1, None);
    master.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_alone_in_a_connection_is_told_that_it_was_asked_to_end() {
    let bed = Bed::start().await;
    let bob = bed.person("bob").await;
    let live = bob.stays_in(BERT).await;
    let mut other = bob.stays_in(BERT).await;
    // Of two, only the one that was meant.
    let sessions = bed.store.live_sessions().await.unwrap();
    assert_eq!(sessions.len(), 2);
    bed.store.ask_end(&sessions[1].id, &person("bob"), clock::now()).await.unwrap();
    let (said, took) = live.ends().await;
    assert!(took < SOON && said.err.contains("this session was ended on request"), "{took:?} {said:?}");
    other.echoes("still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_ends_one_of_two_channels_to_the_same_notebook() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let session = sign_in(bed.address, &alice).await;
    let mut first = open(&session, BERT, 2209).await.unwrap();
    hears(&mut first, b"SSH-2.0-").await;
    let meant = session_in(&bed, "team-a", "bert").await;
    let mut second = open(&session, BERT, 2209).await.unwrap();
    hears(&mut second, b"SSH-2.0-").await;
    let begun = Instant::now();
    bed.store.ask_end(&meant.id, &person("alice"), clock::now()).await.unwrap();
    closes(&mut first).await;
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    works(&mut second).await;
    assert_eq!(bed.store.live_sessions().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_open_session_has_carried_is_in_the_database_before_it_ends() {
    let bed = Bed::with(|settings| settings.limits.beat = Duration::from_millis(200)).await;
    let alice = bed.person("alice").await;
    let mut live = alice.stays_in(BERT).await;
    let session = session_in(&bed, "team-a", "bert").await;
    let carried = async || bed.store.live_bytes().await.unwrap().get(&session.id).copied();
    let (up, down) =
        eventually("bytes", async || carried().await.filter(|(up, down)| *up > 1000 && *down > 1000)).await;
    live.echoes(&"more ".repeat(2000)).await;
    eventually("more bytes", async || carried().await.filter(|now| now.0 > up + 9000 && now.1 > down + 9000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_key_counts_once_it_has_signed_and_an_older_one_has_approved_it() {
    let bed = Bed::start().await;
    let (alice, mallory) = (bed.person("alice").await, bed.person("mallory").await);
    let laptop = bed.stranger("laptop");
    let code = claims(&bed, "alice", &laptop).await;
    let confirm = format!("confirm {code}");

    // However it is typed, what is to be typed next has the code as it was shown, and the key that was proved.
    let typed = format!("confirm '{}$-{}'", code[..4].to_lowercase(), &code[4..]);
    let fingerprint = laptop.public().fingerprint().to_string();
    let approve = format!("confirm {code} {fingerprint}");
    for said in [laptop.asks_to_confirm(&confirm).await, laptop.asks_to_confirm(&typed).await] {
        assert!(
            said.code == Some(0) && said.out.contains("an older key of alice@example.com has to approve"),
            "{said:?}"
        );
        assert!(said.out.ends_with(&format!("  ssh {GATEWAY_ALIAS} {approve}\n")), "{said:?}");
    }
    laptop.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    assert!(alice.asks("keys list").await.out.contains("(waits for `confirm` with an older key)"));
    for command in [&confirm, &approve] {
        let said = mallory.asks(command).await;
        assert!(said.code == Some(1) && said.err.contains("this code does not belong"), "{said:?}");
        let said = mallory.asks_to_confirm(command).await;
        assert!(said.code == Some(1) && said.out.is_empty(), "{said:?}");
    }

    // The code alone, which a script of a notebook can have shown: it says which key it is of, and approves nothing.
    for said in [alice.asks(&confirm).await, alice.asks(&typed).await] {
        assert!(said.code == Some(0) && said.out.contains("nothing is approved yet"), "{said:?}");
        for part in ["ssh-ed25519", &fingerprint, "laptop@home", "ssh-keygen -lf", &clock::text(clock::now())[..10]] {
            assert!(said.out.contains(part), "{part}: {said:?}");
        }
        assert!(said.out.ends_with(&format!("  ssh {GATEWAY_ALIAS} {approve}\n")), "{said:?}");
    }
    let other = alice.public().fingerprint().to_string();
    let said = alice.asks(&format!("confirm {code} {other}")).await;
    assert!(said.code == Some(1) && said.err.contains("this code does not belong"), "{said:?}");
    let said = laptop.asks_to_confirm(&format!("confirm {code} {other}")).await;
    assert!(said.code == Some(1) && said.err.contains("this code does not belong"), "{said:?}");
    let said = alice.asks(&format!("confirm {code} SHA256:short")).await;
    assert!(said.code == Some(2) && said.err.contains("usage: confirm CODE"), "{said:?}");
    laptop.gets_into(BERT).await.is_refused("Permission denied (publickey)");

    let said = alice.asks(&approve).await;
    assert!(
        said.code == Some(0) && said.out == format!("{fingerprint} is now a key of alice@example.com\n"),
        "{said:?}"
    );
    laptop.gets_into(BERT).await.is_in("bert");
    let approved = bed.audited("key-approved", &format!("by {}", alice.public().fingerprint())).await;
    assert_eq!((approved.person.as_deref(), approved.object), (Some("alice@example.com"), Some(fingerprint.clone())));
    let events = bed.store.list_audit(100).await.unwrap();
    assert!(events.iter().any(|event| event.event == "key-confirmed" && event.object.as_ref() == Some(&fingerprint)));

    // The other way round, by the printed command's login name or not.
    let tablet = bed.stranger("tablet");
    let code = claims(&bed, "alice", &tablet).await;
    let said = laptop.asks_to_confirm(&format!("confirm {code} {}", tablet.public().fingerprint())).await;
    assert!(said.code == Some(0) && said.out.contains("it has to sign, too"), "{said:?}");
    tablet.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    let said = tablet.asks_to_confirm(&format!("confirm {code}")).await;
    assert!(said.code == Some(0) && said.out.contains("is now a key of alice@example.com"), "{said:?}");
    tablet.gets_into(BERT).await.is_in("bert");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_key_left_that_could_approve_another_is_sent_to_the_admin() {
    let bed = Bed::start().await;
    let (bob, laptop) = (bed.person("bob").await, bed.stranger("laptop"));
    let code = claims(&bed, "bob", &laptop).await;
    bed.store.remove_key(&person("bob"), bob.public().fingerprint()).await.unwrap();
    let mut worlds = bed.worlds.clone();
    worlds.wait_for(|world| world.keys_of(&person("bob")).next().is_none()).await.unwrap();
    let said = laptop.asks_to_confirm(&format!("confirm {code}")).await;
    assert!(said.code == Some(0) && said.out.contains("none counts any more"), "{said:?}");
    assert!(said.out.ends_with("Ask your admin: fairlead-server keys add\n"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_ends_cuts_its_sessions_and_signs_in_no_more_and_its_last_use_is_known() {
    let bed = Bed::start().await;
    let (alice, guest) = (bed.person("alice").await, bed.stranger("guest"));
    let ends = clock::now().plus_seconds(6);
    bed.store.add_key_until(&person("alice"), &guest.public(), "", Some(ends), clock::now()).await.unwrap();
    let mut worlds = bed.worlds.clone();
    worlds.wait_for(|world| world.person_of(guest.public().fingerprint()).is_some()).await.unwrap();
    let live = guest.stays_in(BERT).await;
    let (said, _) = live.ends().await;
    let delay = clock::now().0 - ends.0;
    assert!((0..2000).contains(&delay) && said.err.contains("removed or has expired"), "{delay} ms late: {said:?}");
    guest.gets_into(BERT).await.is_refused("Permission denied");
    let list = eventually("the last use", async || {
        let said = alice.asks("keys list").await;
        (said.out.matches("last used ").count() == 2).then_some(said.out)
    })
    .await;
    let shown = list.lines().find(|line| line.starts_with(guest.public().fingerprint().as_str())).unwrap();
    assert!(shown.contains(", expired "), "{list}");
}
