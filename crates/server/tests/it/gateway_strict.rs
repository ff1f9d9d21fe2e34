//! Somebody on the way between laptop and gateway, who adds a packet where nothing is encrypted yet (Terrapin), and
//! somebody before the gateway who says for whom he comes.

use std::net::SocketAddr;

use fairlead_model::client_config::GATEWAY_ALIAS;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::gateway_bed::Bed;
use crate::wire::{plain, read_plain};

/// SSH_MSG_IGNORE: without strict key exchange it is dropped and counted, which shifts all that follows.
const IGNORE: [u8; 5] = [2, 0, 0, 0, 0];

/// Where the packet is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Adds {
    Nothing,
    BeforeTheOffer,
    AfterTheOffer,
    BeforeTheKeys,
    ToTheClient,
}

/// Carries one connection to `gateway`, and changes it on its way.
async fn between(gateway: SocketAddr, adds: Adds) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let carry = async move {
        let (client, _) = listener.accept().await.expect("a client");
        let server = TcpStream::connect(gateway).await.expect("the gateway");
        let (mut up, mut to_client) = client.into_split();
        let (mut down, mut to_server) = server.into_split();
        let upwards = async {
            line(&mut up, &mut to_server).await;
            for (before, packet) in
                [Adds::BeforeTheOffer, Adds::AfterTheOffer, Adds::BeforeTheKeys].iter().zip([20, 30, 21])
            {
                let next = read_plain(&mut up).await;
                assert_eq!(next[0], packet);
                let added = if *before == adds { plain(&IGNORE) } else { Vec::new() };
                if to_server.write_all(&[added, plain(&next)].concat()).await.is_err() {
                    return;
                }
            }
            let _ = tokio::io::copy(&mut up, &mut to_server).await;
        };
        let downwards = async {
            line(&mut down, &mut to_client).await;
            if adds == Adds::ToTheClient {
                let offer = read_plain(&mut down).await;
                let _ = to_client.write_all(&[plain(&offer), plain(&IGNORE)].concat()).await;
            }
            let _ = tokio::io::copy(&mut down, &mut to_client).await;
        };
        // Whoever closes ends both, as a wire does that is cut.
        tokio::select! { () = upwards => {} () = downwards => {} }
    };
    (address, tokio::spawn(carry))
}

/// Passes the line on by which each side says what it is.
async fn line(from: &mut (impl tokio::io::AsyncRead + Unpin), to: &mut (impl tokio::io::AsyncWrite + Unpin)) {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(from.read_u8().await.expect("a line"));
    }
    to.write_all(&line).await.expect("the other side");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_somebody_adds_before_the_encryption_ends_the_connection() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let through = async |adds| {
        let (address, carried) = between(bed.address, adds).await;
        let port = format!("-oPort={}", address.port());
        // The post-quantum exchange sends the same three packets.
        let said = alice.runs(&["-v", &port, GATEWAY_ALIAS, "whoami"]).await;
        carried.abort();
        said
    };
    for adds in [Adds::BeforeTheOffer, Adds::AfterTheOffer, Adds::BeforeTheKeys] {
        let said = through(adds).await;
        assert!(said.code == Some(255) && !said.err.contains("SSH2_MSG_SERVICE_ACCEPT"), "{adds:?}: {said:?}");
        assert!(said.err.contains("closed by") || said.err.contains("reset by"), "{adds:?}: {said:?}");
        let said = through(Adds::Nothing).await;
        assert!(said.code == Some(0) && said.out.starts_with("alice@example.com\n"), "{said:?}");
    }
    bed.measures("fairlead_signins_total{outcome=\"refused\"} 3").await;
    // The other direction is the client's to notice, which it does where the gateway offers it.
    let said = through(Adds::ToTheClient).await;
    assert!(said.code == Some(255) && said.err.contains("strict KEX violation"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_protocol_header_is_no_ssh_and_says_nothing_of_where_somebody_is() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x0a\0\0\x01\0\x16\0\x16";
    for header in [&b"PROXY TCP4 203.0.113.9 10.0.0.1 22 22\r\n"[..], b"PROXY UNKNOWN\r\n", version_2] {
        let mut socket = TcpStream::connect(bed.address).await.expect("the gateway");
        socket.write_all(&[header, b"SSH-2.0-forged\r\n"].concat()).await.expect("sent");
        let mut heard = Vec::new();
        let _ = socket.read_to_end(&mut heard).await;
        let heard = String::from_utf8_lossy(&heard);
        assert!(heard == "SSH-2.0-Fairlead\r\n" || heard.is_empty(), "an exchange of keys began: {heard:?}");
        // Beside it somebody gets in who says none.
        assert_eq!(alice.asks("whoami").await.code, Some(0));
    }
    bed.measures("fairlead_signins_total{outcome=\"no-ssh\"} 3").await;
    alice.gets_into("ernie.team-b.notebook").await.is_refused("no such notebook");
    let refused = bed.audited("target-refused", "stranger").await;
    assert!(refused.from.is_some_and(|from| from.starts_with("127.0.0.1:")));
}
