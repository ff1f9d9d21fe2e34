//! What strangers may use before they sign in, and that it takes nothing from anybody else.

use std::time::{Duration, Instant};

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_server::clock;
use fairlead_server::gateway::Settings;
use fairlead_server::store::Store;
use fairlead_server::store::audit::AuditEvent;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::gateway_bed::{Bed, eventually};
use crate::gateway_person::Client;
use crate::gateway_raw::{connect, open, sign_in};

const BERT: &str = "bert.team-a.notebook";

/// Whether the gateway has closed a connection: its end, or a reset.
async fn is_closed(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    let read = async {
        loop {
            match socket.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_millis(200), read).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_idle_connections_from_one_source_keep_no_other_source_out() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(TcpStream::connect(bed.address).await.unwrap());
    }
    let from = |source: &str| format!("-oBindAddress={source}");
    let said = alice.runs(&[&from("127.0.0.2"), GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.code == Some(0) && said.out.starts_with("alice@"), "{said:?}");
    let said = alice.runs(&[&from("127.0.0.1"), GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.code == Some(255), "{said:?}");
    let mut open = 0;
    for socket in idle.iter_mut().skip(40).take(20) {
        open += usize::from(!is_closed(socket).await);
    }
    assert_eq!(open, 10, "of connections 41 to 60");
    drop(idle);
    eventually("a free place", async || alice.asks("whoami").await.code.filter(|code| *code == 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_sign_in_in_time_is_closed_however_far_it_got() {
    let bed = Bed::with(|settings| settings.limits.sign_in = Duration::from_secs(2)).await;
    let alice = bed.person("alice").await;
    let begun = Instant::now();
    let mut silent = TcpStream::connect(bed.address).await.unwrap();
    let mut slow = TcpStream::connect(bed.address).await.unwrap();
    let mut greeted = TcpStream::connect(bed.address).await.unwrap();
    greeted.write_all(b"SSH-2.0-slow\r\n").await.unwrap();
    let exchanged = connect(bed.address).await;
    let trickle = tokio::spawn(async move {
        for byte in b"SSH-2.0-a-very-slow-client-that-sends-a-byte-at-a-time-and-never-ends".iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    // Meanwhile others get in, and stay: signed in, the time no longer counts.
    let mut live = alice.stays_in(BERT).await;
    eventually("their end", async || exchanged.is_closed().then_some(())).await;
    eventually("the slow one's end", async || trickle.is_finished().then_some(())).await;
    assert!(is_closed(&mut silent).await && is_closed(&mut greeted).await);
    assert!(begun.elapsed() > Duration::from_secs(1) && begun.elapsed() < Duration::from_secs(6));
    live.echoes("still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_much_before_signing_in_is_closed_at_once() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut flood = TcpStream::connect(bed.address).await.unwrap();
    flood.write_all(b"SSH-2.0-flood\r\n").await.unwrap();
    // A packet of nearly 256 KiB, which the library would wait for.
    let mut packet = 262_000_u32.to_be_bytes().to_vec();
    packet.resize(200_000, 0);
    let _ = flood.write_all(&packet).await;
    assert!(is_closed(&mut flood).await);
    assert_eq!(alice.asks("whoami").await.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_many_keys_signs_in_and_one_with_too_many_is_told() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let others: Vec<Client> = (0..25).map(|_| bed.stranger("other")).collect();
    let offers = |count: usize| {
        let keys = others.iter().take(count).map(|other| format!("-i{}", other.path("key").display()));
        keys.chain([format!("-i{}", alice.path("key").display()), "-oIdentitiesOnly=yes".to_owned()])
            .collect::<Vec<_>>()
    };
    let whoami = async |count| {
        let words = offers(count);
        let target = [format!("-oPort={}", bed.address.port()), "127.0.0.1".to_owned(), "whoami".to_owned()];
        let first = [
            "-oHostKeyAlias=fairlead-gateway".to_owned(),
            "-oUserKnownHostsFile=".to_owned() + alice.path("known_hosts").to_str().unwrap(),
        ];
        let words: Vec<&str> = words.iter().chain(&first).chain(&target).map(String::as_str).collect();
        alice.runs(&words).await
    };
    let said = whoami(18).await;
    assert!(said.code == Some(0), "{said:?}");
    let said = whoami(25).await;
    assert!(said.code == Some(255) && said.err.contains("Too many authentication"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_has_so_many_connections_and_is_told() {
    let bed = Bed::with(|settings| settings.limits.per_person = 2).await;
    let (alice, bob) = (bed.person("alice").await, bed.person("bob").await);
    let first = sign_in(bed.address, &alice).await;
    let second = sign_in(bed.address, &alice).await;
    let said = alice.asks("whoami").await;
    assert!(said.code == Some(255) && said.err.contains("too many connections at once"), "{said:?}");
    assert_eq!(bob.asks("whoami").await.code, Some(0));
    assert!(open(&first, BERT, 2209).await.is_ok());
    drop(second);
    eventually("a free place", async || alice.asks("whoami").await.code.filter(|code| *code == 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_are_older_than_they_are_kept_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("sqlite:{}/fairlead.db", dir.path().display())).await.unwrap();
    let event = |word: &str, hours: i64| AuditEvent {
        at: clock::now().plus_seconds(-3600 * hours),
        event: word.to_owned(),
        person: None,
        from: None,
        object: None,
        detail: Some(String::new()),
    };
    store.audit(&event("old", 25)).await.unwrap();
    store.audit(&event("new", 23)).await.unwrap();
    let day = |settings: &mut Settings| settings.keep_records = Duration::from_hours(24);
    let bed = Bed::on(dir, store, day).await;
    eventually("the end of what is old", async || {
        let events = bed.store.list_audit(10).await.unwrap();
        (!events.iter().any(|event| event.event == "old")).then_some(())
    })
    .await;
    bed.audited("new", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_who_comes_again_and_again_is_written_down_once_and_counted_every_time() {
    let bed = Bed::start().await;
    let stranger = bed.stranger("mallory");
    for _ in 0..5 {
        assert_eq!(stranger.asks("whoami").await.code, Some(255));
    }
    let said = stranger.runs(&["-oBindAddress=127.0.0.2", GATEWAY_ALIAS, "whoami"]).await;
    assert_eq!(said.code, Some(255));
    bed.measures("fairlead_signins_total{outcome=\"refused\"} 6").await;
    // Events are written in their order: once this one is, those before it are.
    let alice = bed.person("alice").await;
    alice.gets_into("ernie.team-b.notebook").await.is_refused("no such notebook");
    bed.audited("target-refused", "stranger").await;
    let events = bed.store.list_audit(100).await.unwrap().into_iter();
    let from = events.filter(|event| event.event == "sign-in-refused").filter_map(|event| event.from);
    let mut from: Vec<String> = from.map(|from| from.split(':').next().unwrap_or_default().to_owned()).collect();
    from.sort();
    assert_eq!(from, ["127.0.0.1", "127.0.0.2"]);
}
