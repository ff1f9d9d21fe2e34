//! What goes through arrives whole, both ways, and is counted.

use std::process::Stdio;
use std::time::Instant;

use fairlead_model::client_config::GATEWAY_ALIAS;
use russh::ChannelMsg;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::gateway_bed::{Bed, person};
use crate::gateway_person::finish;
use crate::gateway_raw::{closes, hears, next, open, sign_in};

const BERT: &str = "bert.team-a.notebook";
const SIZE: usize = 100 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_go_up_and_come_down_unchanged() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let file = alice.path("file");
    // Bytes that repeat in no packet's length, so that one that is lost or comes twice shows.
    let bytes: Vec<u8> =
        (0..SIZE as u64 / 8).flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()).collect();
    std::fs::write(&file, &bytes).unwrap();
    let sum = finish(tokio::process::Command::new("sha256sum").arg(&file)).await.out;
    let sum = sum.split(' ').next().unwrap();

    let begun = Instant::now();
    let input = Stdio::from(std::fs::File::open(&file).unwrap());
    let said = finish(alice.ssh().args([BERT, "sha256sum"]).stdin(input)).await;
    println!("up {:?}", begun.elapsed());
    assert!(said.code == Some(0) && said.out.starts_with(sum), "{said:?}");
    let (session, up) = bed.ended_session().await;
    let size = i64::try_from(SIZE).unwrap();
    assert!(up.bytes_up > size && up.bytes_up < size + size / 20, "{up:?}");
    assert!(up.bytes_down > 1000 && up.bytes_down < size / 20, "{up:?}");
    assert_eq!((session.person, up.reason.as_str()), (person("alice"), "closed"));
    assert_eq!(
        (session.key, session.way.as_str(), session.pod.as_str()),
        (alice.public().fingerprint().clone(), "jump", "pod-bert-1")
    );
    assert!(session.client.starts_with("SSH-2.0-OpenSSH_") && session.from.starts_with("127.0.0.1:"));
    assert_eq!((session.id.len(), session.notebook.to_string()), (32, "team-a/bert".to_owned()));

    let begun = Instant::now();
    let down = alice.path("down");
    let output = Stdio::from(std::fs::File::create(&down).unwrap());
    let command = format!("cat {}", file.display());
    let status = alice.ssh().args([BERT, &command]).stdout(output).stderr(Stdio::null()).status().await.unwrap();
    println!("down {:?}", begun.elapsed());
    assert!(status.success() && std::fs::read(&down).unwrap() == bytes);
    let down = crate::gateway_bed::eventually("the second session", async || {
        let sessions = bed.store.list_sessions(None, 2).await.unwrap();
        sessions.into_iter().filter_map(|(_, end)| end).find(|end| end.bytes_down > size)
    })
    .await;
    assert!(down.bytes_down < size + size / 20 && down.bytes_up < size / 20, "{down:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_notebook_answers_after_the_clients_end_of_file_still_arrives() {
    let mut bed = Bed::start().await;
    let alice = bed.person("alice").await;
    bed.bert.stop();
    let listener = TcpListener::bind((bed.bert.ip, 2209)).await.unwrap();
    let pod = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"SSH-2.0-echo\r\n").await.unwrap();
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut all).await.unwrap();
        // Only now, after the end of what the client sends.
        socket.write_all(&all).await.unwrap();
        all.len()
    };
    let file = alice.path("file");
    std::fs::write(&file, vec![b'x'; 3_000_000]).unwrap();
    let mut ssh = alice.ssh();
    let input = Stdio::from(std::fs::File::open(&file).unwrap());
    let ssh = ssh.args(["-W", "bert.team-a.notebook:2209", GATEWAY_ALIAS]).stdin(input);
    let (said, length) = tokio::join!(finish(ssh), pod);
    assert_eq!((length, said.code), (3_000_000, Some(0)));
    assert!(said.out.starts_with("SSH-2.0-echo\r\nxxx") && said.out.len() == 3_000_000 + 14);
    let (_, end) = bed.ended_session().await;
    assert_eq!((end.bytes_up, end.bytes_down, end.reason.as_str()), (3_000_000, 3_000_014, "closed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_that_says_its_last_word_first_is_heard() {
    let mut bed = Bed::start().await;
    let alice = bed.person("alice").await;
    bed.bert.stop();
    let listener = TcpListener::bind((bed.bert.ip, 2209)).await.unwrap();
    let pod = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(b"SSH-2.0-bye\r\n").await.unwrap();
        socket.shutdown().await.unwrap();
        // What the client says after that still comes.
        let mut all = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut all).await.unwrap();
        all
    };
    let client = async {
        let session = sign_in(bed.address, &alice).await;
        let mut channel = open(&session, BERT, 2209).await.unwrap();
        hears(&mut channel, b"SSH-2.0-bye\r\n").await;
        while !matches!(next(&mut channel).await, Some(ChannelMsg::Eof)) {}
        channel.data(&b"thanks"[..]).await.unwrap();
        channel.eof().await.unwrap();
        closes(&mut channel).await;
    };
    let ((), all) = tokio::join!(client, pod);
    assert_eq!(all, b"thanks");
    assert_eq!(bed.ended_session().await.1.reason, "closed");
}
