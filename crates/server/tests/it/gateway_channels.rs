//! Messages about channels that were never opened, are closed, or are of another kind.

use crate::gateway_bed::Bed;
use crate::wire::{Message, Wire};

const REQUEST_FAILED: u8 = 100;

/// Everything that is said about a channel.
fn about(channel: u32) -> Vec<Message> {
    let request = |kind: &str| Message::new(98).number(channel).text(kind).byte(1);
    vec![
        request("exec").text("whoami"),
        request("shell"),
        request("env").text("LD_PRELOAD").text("/tmp/x.so"),
        request("subsystem").text("sftp"),
        request("auth-agent-req@openssh.com"),
        request("signal").text("KILL"),
        request("window-change").number(1).number(1).number(1).number(1),
        Message::new(94).number(channel).text("whoami\n"),
        Message::new(95).number(channel).number(1).text("whoami\n"),
        Message::new(93).number(channel).number(u32::MAX),
        Message::new(96).number(channel),
        Message::new(97).number(channel),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_was_never_opened_is_nothing_and_the_next_one_opens() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut wire = Wire::signed_in(bed.address, &alice).await;
    for channel in [0, 1, 2, 7, 0x7fff_ffff, u32::MAX] {
        for message in about(channel) {
            wire.say(message).await;
        }
    }
    // What is heard next is the answer to this: nothing of the above had one.
    assert_eq!(wire.whoami(9).await, "alice@example.com");
    // A channel that nobody asked for is the end, of this connection alone.
    let mut other = Wire::signed_in(bed.address, &alice).await;
    other.say(Message::new(91).number(5).number(5).number(1).number(1)).await;
    while other.hear().await.is_some() {}
    assert_eq!(wire.whoami(10).await, "alice@example.com");
    let sessions = bed.store.list_sessions(None, 10).await.expect("sessions");
    assert!(sessions.is_empty(), "{sessions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_to_a_notebook_runs_no_command_and_a_session_runs_one() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let mut wire = Wire::signed_in(bed.address, &alice).await;
    let opened = Message::new(90).text("direct-tcpip").number(3).number(1 << 20).number(1 << 20);
    wire.say(opened.text("bert.team-a.notebook").number(2209).text("127.0.0.1").number(1)).await;
    let opened = wire.hear().await.expect("an answer");
    assert_eq!(opened[..5], [91, 0, 0, 0, 3]);
    let tunnel = u32::from_be_bytes([opened[5], opened[6], opened[7], opened[8]]);
    for message in about(tunnel).into_iter().take(5) {
        wire.say(message).await;
        // Between them comes what the notebook says, and room for what it may be told.
        let mut answer = wire.hear().await.expect("an answer");
        while matches!(answer[0], 93 | 94) {
            answer = wire.hear().await.expect("an answer");
        }
        assert_eq!(answer[..5], [REQUEST_FAILED, 0, 0, 0, 3], "{answer:?}");
    }
    // The connection is as good as before.
    assert_eq!(wire.whoami(4).await, "alice@example.com");
}
