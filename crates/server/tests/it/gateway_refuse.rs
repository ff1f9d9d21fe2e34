//! Everything that is no notebook is refused and written down, and the same connection's good channel goes on.

use std::process::Stdio;

use fairlead_model::client_config::GATEWAY_ALIAS;
use russh::ChannelMsg;

use crate::gateway_bed::Bed;
use crate::gateway_raw::{hears, next, open, sign_in, works};

const BERT: &str = "bert.team-a.notebook";

#[tokio::test(flavor = "multi_thread")]
async fn no_trick_with_a_name_or_a_port_leads_anywhere() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let session = sign_in(bed.address, &alice).await;
    let mut good = open(&session, BERT, 2209).await.unwrap();
    hears(&mut good, b"SSH-2.0-").await;
    let pod = bed.bert.ip.to_string();
    let long = "a".repeat(64 * 1024);
    let hosts = [
        "",
        ".",
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
        "0",
        "0x7f000001",
        "2130706433",
        &pod,
        "::ffff:198.18.0.1",
        "bert",
        "bert.team-a",
        "bert.team-a.",
        "bert.team-a.notebook.",
        "bert.team-a.notebook..",
        ".bert.team-a.notebook",
        "bert.team-a..notebook",
        "BERT.team-a.notebook",
        "bert.team-a.NOTEBOOK",
        "bert.team-a.notebook:2209",
        "bert.team-a.notebook ",
        " bert.team-a.notebook",
        "bert.team-a.notebook\0",
        "\0bert.team-a.notebook",
        "bert.team-a.notebook\0.evil.com",
        "bert.team-a.notebook\n",
        "bert.team-a.notebook\r\nHost: x",
        "bert.team-a.notebook/../x",
        "bert@team-a.notebook",
        "alice@bert.team-a.notebook",
        "bert,ernie.team-a.notebook",
        "*.team-a.notebook",
        "bert.*.notebook",
        "b\u{435}rt.team-a.notebook",
        "bert\u{3002}team-a.notebook",
        "bert\u{200b}.team-a.notebook",
        "%62ert.team-a.notebook",
        "-bert.team-a.notebook",
        "bert.team-a.notebook.evil.com",
        "bert.team-a.svc.cluster.local",
        "kubernetes.default.svc",
        "169.254.169.254",
        "bert.team-a.notebook%eth0",
        "$(id).team-a.notebook",
        "`id`.team-a.notebook",
        "../bert.team-a.notebook",
        &long,
    ];
    for host in hosts {
        for port in [2209, 22] {
            assert_eq!(open(&session, host, port).await.err(), Some(1), "{:?} {port}", &host[..host.len().min(99)]);
        }
        if host == hosts[40] {
            // Half of them: a hundred refused targets end a connection.
            break;
        }
    }
    works(&mut good).await;
    let session = sign_in(bed.address, &alice).await;
    let mut good = open(&session, BERT, 22).await.unwrap();
    for host in &hosts[41..] {
        assert_eq!(open(&session, host, 2209).await.err(), Some(1), "{:?}", &host[..host.len().min(99)]);
    }
    for port in [0, 1, 21, 23, 80, 443, 2208, 2210, 8888, 65535, 65536 + 22, 65536 + 2209, u32::MAX] {
        assert_eq!(open(&session, BERT, port).await.err(), Some(1), "{port}");
    }
    works(&mut good).await;
    bed.audited("target-refused", "no-name").await;
    bed.audited("target-refused", "port").await;
    let names = bed.store.list_audit(1000).await.unwrap().into_iter().filter_map(|event| event.object);
    assert!(names.into_iter().all(|name| name.len() <= 100 && name.bytes().all(|b| (b' '..=b'~').contains(&b))));
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_prints_one_and_the_same_refusal_for_whatever_is_no_notebook() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    alice.gets_into(BERT).await.is_in("bert");
    let dave = bed.person("dave").await;
    let mut all = std::collections::BTreeSet::new();
    let targets = [
        "localhost:22",
        "[::1]:2209",
        "kubernetes.default.svc:443",
        "10.0.0.1:2209",
        "a.b.notebook:2209",
        "bert.team-a.notebook:2209",
        "bert.team-a.notebook:80",
    ];
    for target in targets {
        let said = dave.runs(&["-W", target, GATEWAY_ALIAS]).await;
        said.is_refused("no such notebook, or it is not yours");
        all.insert(said.err.lines().find(|line| line.contains("open failed")).unwrap().to_owned());
    }
    assert_eq!(all.len(), 1, "{all:?}");
    alice.runs(&["-W", "bert.team-a.notebook:80", GATEWAY_ALIAS]).await.is_refused("only port 2209");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_a_channel_can_ask_for_is_refused_and_the_good_one_goes_on() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let session = sign_in(bed.address, &alice).await;
    let mut good = open(&session, BERT, 2209).await.unwrap();
    hears(&mut good, b"SSH-2.0-").await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
    channel.request_x11(true, false, "MIT-MAGIC-COOKIE-1", "00", 0).await.unwrap();
    channel.agent_forward(true).await.unwrap();
    channel.set_env(true, "LD_PRELOAD", "/tmp/x.so").await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    for _ in 0..5 {
        assert!(matches!(next(&mut channel).await, Some(ChannelMsg::Failure)));
    }
    // The channel itself has come to no harm: a command still runs in it, and one alone.
    channel.exec(true, "whoami").await.unwrap();
    hears(&mut channel, b"alice@example.com").await;
    assert!(session.tcpip_forward("0.0.0.0", 8080).await.is_err());
    assert!(session.streamlocal_forward("/tmp/fairlead.sock").await.is_err());
    assert!(session.channel_open_direct_streamlocal("/run/docker.sock").await.is_err());
    assert!(session.channel_open_x11("127.0.0.1", 6000).await.is_err());
    for kind in [
        "pty",
        "x11",
        "agent",
        "env",
        "subsystem",
        "tcpip-forward",
        "streamlocal-forward",
        "direct-streamlocal",
        "x11-channel",
    ] {
        bed.audited("request-refused", kind).await;
    }
    works(&mut good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_has_ten_channels_at_once_and_a_hundred_refusals_in_all() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let session = sign_in(bed.address, &alice).await;
    let mut channels = Vec::new();
    for _ in 0..10 {
        channels.push(open(&session, BERT, 2209).await.unwrap());
    }
    assert_eq!(open(&session, BERT, 2209).await.err(), Some(4));
    bed.audited("target-refused", "too-many-channels").await;
    drop(channels.pop().unwrap().close().await);
    let again = crate::gateway_bed::eventually("a free place", async || open(&session, BERT, 2209).await.ok()).await;
    drop(again);
    let session = sign_in(bed.address, &alice).await;
    for _ in 0..100 {
        let _ = session.channel_open_direct_tcpip("localhost", 22, "127.0.0.1", 1).await;
    }
    crate::gateway_bed::eventually("the end", async || session.is_closed().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_cannot_be_dialled_count_as_refused_ones_do() {
    let mut bed = Bed::with(|settings| settings.limits.refusals = 3).await;
    let alice = bed.person("alice").await;
    let session = sign_in(bed.address, &alice).await;
    drop(open(&session, BERT, 2209).await.unwrap());
    bed.bert.stop();
    for _ in 0..2 {
        assert_eq!(open(&session, BERT, 2209).await.err(), Some(2));
    }
    let _ = session.channel_open_direct_tcpip(BERT, 2209, "127.0.0.1", 1).await;
    crate::gateway_bed::eventually("the end", async || session.is_closed().then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssh_with_every_kind_of_forwarding_gets_its_command_and_nothing_else() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut agent = tokio::process::Command::new("ssh-agent");
    let socket = alice.path("agent");
    let mut agent = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    crate::gateway_bed::eventually("the agent", async || socket.exists().then_some(())).await;
    let mut ssh = alice.ssh();
    ssh.arg(format!("-oIdentityAgent={}", socket.display()));
    ssh.env("SSH_AUTH_SOCK", &socket).env("DISPLAY", "127.0.0.1:0").args(["-A", "-Y"]);
    ssh.args(["-R", "0:127.0.0.1:22", "-R", "/tmp/fairlead-test.sock:127.0.0.1:22", "-oSetEnv=LD_PRELOAD=/tmp/x.so"]);
    let said = crate::gateway_person::finish(ssh.args([GATEWAY_ALIAS, "whoami"])).await;
    assert!(said.code == Some(0) && said.out.starts_with("alice@example.com\n"), "{said:?}");
    assert!(said.err.contains("remote port forwarding failed"), "{said:?}");
    // A terminal that is demanded and refused is the end for OpenSSH itself.
    let said = alice.runs(&["-tt", GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.code == Some(255) && said.err.contains("PTY allocation request failed"), "{said:?}");
    for kind in ["pty", "x11", "agent", "env", "tcpip-forward", "streamlocal-forward"] {
        bed.audited("request-refused", kind).await;
    }
    let said = alice.runs(&["-s", GATEWAY_ALIAS, "sftp"]).await;
    assert!(said.code != Some(0) && said.err.contains("subsystem request failed"), "{said:?}");
    let said = alice.runs(&[GATEWAY_ALIAS]).await;
    assert!(said.code == Some(1) && said.err.contains("there is no shell here"), "{said:?}");
    agent.kill().await.unwrap();
}
