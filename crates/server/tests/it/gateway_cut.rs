//! A live session ends within a second of losing its right, whatever its client and its notebook do; and when the
//! gateway shuts down.
#![expect(clippy::unwrap_used, reason = "a stall that cannot be made ends its test")]

use std::time::{Duration, Instant};

use fairlead_model::world::{Namespace, Notebook, Switch};
use fairlead_model::{Fact, Role};
use russh::Channel;
use russh::client::Msg;
use tokio::net::{TcpListener, TcpStream};

use crate::gateway_bed::{Bed, eventually, id, label, person, pod, running};
use crate::gateway_raw::{Anything, closes, hears, open, sign_in, works};

const BERT: &str = "bert.team-a.notebook";
const ERNIE: &str = "ernie.team-b.notebook";
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_cut_within_a_second_of_any_loss_of_its_right() {
    let bed = Bed::start().await;
    let bob = bed.person("bob").await;
    let notebook = |notebook| Fact::Notebook(id("team-a", "bert"), notebook);
    let space = |ssh| {
        Fact::Namespace(
            label("team-a"),
            Some(Namespace { owner: Some(person("alice")), ssh, created: fairlead_model::Time(1) }),
        )
    };
    let pod_of = |uid| Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(pod("bert", uid, bed.bert.ip)));
    let stopped = Notebook { stopped: true, ..running("bert") };
    let off = Notebook { ssh: Switch::Disabled, ..running("bert") };
    let member = |role: Option<Role>| {
        let member = role.map(|role| fairlead_model::world::Member { person: person("bob"), role });
        Fact::Member(label("team-a"), "binding-bob".to_owned(), member)
    };
    let cases = [
        ("denied: stranger", "no such notebook", member(None), member(Some(Role::Edit))),
        ("denied: viewer", "`view`", member(Some(Role::View)), member(Some(Role::Edit))),
        ("denied: disabled-by-user", "switched off", notebook(Some(off)), notebook(Some(running("bert")))),
        ("denied: disabled-by-admin", "not switched on", space(Switch::Disabled), space(Switch::Unset)),
        ("denied: stopped", "is stopped", notebook(Some(stopped)), notebook(Some(running("bert")))),
        ("denied: no-notebook", "no notebook of this name", notebook(None), notebook(Some(running("bert")))),
        ("pod-replaced", "has been restarted", pod_of("2"), pod_of("1")),
    ];
    let mut slowest = Duration::ZERO;
    for (reason, told, loss, gain) in cases {
        let mut live = bob.stays_in(BERT).await;
        live.echoes("still here").await;
        bed.fact(loss).await;
        let (said, took) = live.ends().await;
        assert!(took < SOON && said.err.contains(told), "{reason} took {took:?}: {said:?}");
        slowest = slowest.max(took);
        let (begin, end) = bed.ended_session().await;
        assert_eq!((begin.person, end.reason.as_str()), (person("bob"), reason));
        bed.audited("session-cut", reason).await;
        bed.fact(gain).await;
        eventually("another login", async || bob.gets_into(BERT).await.code.filter(|code| *code == 0)).await;
    }
    println!("slowest cut: {slowest:?}");
    bed.measures("fairlead_sessions_active 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_key_ends_everything_it_signed_in_and_nothing_else() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let other = bed.person("alice").await;
    let live = alice.stays_in(BERT).await;
    let mut stays = other.stays_in(BERT).await;
    let idle = sign_in(bed.address, &alice).await;
    assert!(bed.store.remove_key(&person("alice"), alice.public().fingerprint()).await.unwrap());
    let (said, took) = live.ends().await;
    assert!(took < SOON, "{took:?}");
    assert!(said.err.contains("the key you signed in with has been removed"), "{said:?}");
    eventually("the end of an idle connection", async || idle.is_closed().then_some(())).await;
    let reason = async || bed.store.list_sessions(None, 5).await.unwrap().into_iter().find_map(|(_, end)| end);
    assert_eq!(eventually("its end", reason).await.reason, "key-removed");
    alice.gets_into(BERT).await.is_refused("Permission denied");
    stays.echoes("still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lost_notebook_leaves_the_other_channels_of_the_connection_alone() {
    let bed = Bed::start().await;
    let erin = bed.person("erin").await;
    bed.member("erin", Some(Role::Edit)).await;
    erin.gets_into(BERT).await.is_in("bert");
    let session = sign_in(bed.address, &erin).await;
    let mut bert = open(&session, BERT, 2209).await.unwrap();
    let mut ernie = open(&session, ERNIE, 22).await.unwrap();
    hears(&mut bert, b"SSH-2.0-").await;
    hears(&mut ernie, b"SSH-2.0-").await;
    bed.member("erin", None).await;
    closes(&mut bert).await;
    works(&mut ernie).await;
    assert_eq!(open(&session, BERT, 2209).await.err(), Some(1));
}

/// Fills everything between a client and a notebook that reads nothing.
async fn stall(bed: &Bed, session: &russh::client::Handle<Anything>) -> (Channel<Msg>, TcpStream) {
    let listener = TcpListener::bind((bed.bert.ip, 2209)).await.unwrap();
    let pod = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut socket, b"SSH-2.0-silent\r\n").await.unwrap();
        socket
    };
    let (channel, socket) = tokio::join!(open(session, BERT, 2209), pod);
    let channel = channel.unwrap();
    let chunk = vec![0; 1024 * 1024];
    let fill = async {
        for _ in 0..1024 {
            if channel.data(&chunk[..]).await.is_err() {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(3), fill).await.is_err(), "a GiB went into nothing");
    (channel, socket)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_cut_whose_notebook_reads_nothing() {
    let mut bed = Bed::start().await;
    let alice = bed.person("alice").await;
    bed.bert.stop();
    let session = sign_in(bed.address, &alice).await;
    let _stalled = stall(&bed, &session).await;
    let begun = Instant::now();
    bed.store.remove_key(&person("alice"), alice.public().fingerprint()).await.unwrap();
    bed.measures("fairlead_connections_active 0").await;
    println!("cut after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(bed.ended_session().await.1.reason, "key-removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_notebook_reads_nothing_holds_up_no_shutdown() {
    let mut bed = Bed::with(|settings| settings.drain = Duration::from_millis(100)).await;
    let alice = bed.person("alice").await;
    bed.bert.stop();
    let session = sign_in(bed.address, &alice).await;
    let _stalled = stall(&bed, &session).await;
    bed.shutdown.cancel();
    tokio::time::timeout(SOON, bed.gateway.take().unwrap()).await.unwrap().unwrap().unwrap();
    assert_eq!(bed.ended_session().await.1.reason, "drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_cut_whose_client_reads_nothing() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut ssh = alice.ssh();
    ssh.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = ssh.args([BERT, "yes"]).process_group(0).spawn().unwrap();
    // Once some of it has gone through, the client and its jump are frozen; then nothing more goes.
    eventually("a flood", async || (bed.bytes_down() > 1_000_000).then_some(())).await;
    let group = format!("-{}", child.id().unwrap());
    let signal = |name: &str| std::process::Command::new("kill").args([name, "--", &group]).status().unwrap();
    assert!(signal("-STOP").success());
    eventually("a standstill", async || {
        let before = bed.bytes_down();
        tokio::time::sleep(Duration::from_millis(200)).await;
        (bed.bytes_down() == before).then_some(())
    })
    .await;
    let begun = Instant::now();
    bed.store.remove_key(&person("alice"), alice.public().fingerprint()).await.unwrap();
    bed.measures("fairlead_connections_active 0").await;
    println!("cut after {:?}", begun.elapsed());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    assert_eq!(bed.ended_session().await.1.reason, "key-removed");
    assert!(signal("-KILL").success());
    child.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_killed_in_the_middle_has_closed_its_session() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut ssh = alice.ssh();
    ssh.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut child = ssh.args([BERT, "yes"]).process_group(0).spawn().unwrap();
    eventually("a flood", async || (bed.bytes_down() > 1_000_000).then_some(())).await;
    let group = format!("-{}", child.id().unwrap());
    assert!(std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    child.wait().await.unwrap();
    let (_, end) = bed.ended_session().await;
    assert!(end.reason == "closed" && end.bytes_down > 1_000_000, "{end:?}");
    bed.measures("fairlead_connections_active 0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_no_longer_answers_is_noticed() {
    let bed = Bed::with(|settings| {
        settings.limits.keep_alive = Duration::from_millis(300);
        settings.limits.keep_alive_count = 2;
    })
    .await;
    let alice = bed.person("alice").await;
    let mut awake = alice.stays_in(BERT).await;
    let mut ssh = alice.ssh();
    let mut child = ssh.args([BERT, "sleep 60"]).stderr(std::process::Stdio::null()).process_group(0).spawn().unwrap();
    bed.measures("fairlead_sessions_active 2").await;
    let group = format!("-{}", child.id().unwrap());
    let signal = |name: &str| std::process::Command::new("kill").args([name, "--", &group]).status().unwrap();
    assert!(signal("-STOP").success());
    bed.measures("fairlead_sessions_active 1").await;
    assert_eq!(bed.ended_session().await.1.reason, "vanished");
    assert!(signal("-KILL").success());
    child.wait().await.unwrap();
    awake.echoes("still here").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_lets_live_sessions_go_on_for_a_while_and_takes_no_new_ones() {
    let mut bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut live = alice.stays_in(BERT).await;
    let idle = sign_in(bed.address, &alice).await;
    bed.shutdown.cancel();
    eventually("the end of an idle connection", async || idle.is_closed().then_some(())).await;
    alice.gets_into(BERT).await.is_refused("Connection refused");
    live.echoes("still here").await;
    let (said, took) = live.ends().await;
    assert!(said.err.contains("the gateway is restarting"), "{said:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    bed.gateway.take().unwrap().await.unwrap().unwrap();
    assert_eq!(bed.ended_session().await.1.reason, "drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_no_longer_than_the_last_session() {
    let mut bed = Bed::with(|settings| settings.drain = Duration::from_mins(1)).await;
    let alice = bed.person("alice").await;
    let mut live = alice.stays_in(BERT).await;
    bed.shutdown.cancel();
    live.echoes("still here").await;
    drop(live.child.stdin.take());
    assert_eq!(live.ends().await.0.code, Some(0));
    tokio::time::timeout(Duration::from_secs(5), bed.gateway.take().unwrap()).await.unwrap().unwrap().unwrap();
    assert_eq!(bed.ended_session().await.1.reason, "closed");
}
