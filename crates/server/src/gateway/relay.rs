//! Bytes between a client's channel and a notebook's sshd.
//!
//! An own loop, because russh's `ChannelStream` with tokio's `copy_bidirectional` makes packets of 8 KiB: 1.4 times the
//! CPU of OpenSSH instead of 0.7 (measured). One task for both directions, so that dropping it ends everything at once.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;

use crate::metrics::{Direction, Metrics};

/// What is read at once: little while somebody types, up to 256 KiB while a file goes through.
const CHUNKS: std::ops::RangeInclusive<usize> = 16 * 1024..=256 * 1024;
/// How long a notebook that takes no more bytes may still send some.
const AFTER_BROKEN: Duration = Duration::from_secs(5);

/// Bytes of one session.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// From the client to the notebook.
    pub(super) up: AtomicI64,
    /// From the notebook to the client.
    pub(super) down: AtomicI64,
}

/// How a relay ended by itself.
#[derive(Debug)]
pub(super) enum Finished {
    /// Both sides said everything, or the client closed its channel.
    Closed,
    /// The client's whole connection is gone.
    ConnectionGone,
    /// The notebook's side broke.
    Broken(io::Error),
}

/// Relays until both sides have finished; `greeting` is what was read from the notebook already.
pub(super) async fn run(
    channel: Channel<Msg>,
    pod: TcpStream,
    greeting: Bytes,
    traffic: &Traffic,
    metrics: &Metrics,
) -> Finished {
    let (from_client, to_client) = channel.split();
    let (from_pod, to_pod) = pod.into_split();
    let client_finished = Notify::new();
    let mut up = pin!(up(from_client, to_pod, &client_finished, traffic, metrics));
    let mut down = pin!(down(from_pod, &to_client, greeting, traffic, metrics));
    let (mut up_is_done, mut down_is_done) = (false, false);
    while !(up_is_done && down_is_done) {
        tokio::select! {
            finished = &mut up => match finished {
                Finished::Broken(error) if !down_is_done => {
                    // The notebook closed its side; what it said before that still counts.
                    return match tokio::time::timeout(AFTER_BROKEN, down).await {
                        Ok(Ok(())) => { let _ = to_client.close().await; Finished::Closed }
                        _ => Finished::Broken(error),
                    };
                }
                finished => return finished,
            },
            result = &mut down, if !down_is_done => match result {
                Ok(()) => down_is_done = true,
                Err(finished) => return finished,
            },
            () = client_finished.notified(), if !up_is_done => up_is_done = true,
        }
    }
    // The client may be gone already, which is what this would tell it.
    let _ = to_client.close().await;
    Finished::Closed
}

/// Client to notebook. Goes on after the client's end of file, because its close is still to come.
async fn up(
    mut client: ChannelReadHalf,
    mut pod: OwnedWriteHalf,
    finished: &Notify,
    traffic: &Traffic,
    metrics: &Metrics,
) -> Finished {
    let counted = metrics.session_bytes.get_or_create_owned(&Direction { direction: "up" });
    let mut ended = false;
    while let Some(message) = client.wait().await {
        let result = match message {
            ChannelMsg::Data { data } if !ended => {
                let result = pod.write_all(&data).await;
                count(&traffic.up, data.len());
                counted.inc_by(data.len() as u64);
                result
            }
            ChannelMsg::Eof if !ended => {
                ended = true;
                finished.notify_one();
                // A notebook that has closed its side already makes this fail, and needs no end of file.
                let _ = pod.shutdown().await;
                Ok(())
            }
            ChannelMsg::Close => return Finished::Closed,
            _ => Ok(()),
        };
        if let Err(error) = result {
            return Finished::Broken(error);
        }
    }
    Finished::ConnectionGone
}

/// Notebook to client, until its end of file.
async fn down(
    pod: OwnedReadHalf,
    client: &ChannelWriteHalf<Msg>,
    greeting: Bytes,
    traffic: &Traffic,
    metrics: &Metrics,
) -> Result<(), Finished> {
    let counted = metrics.session_bytes.get_or_create_owned(&Direction { direction: "down" });
    let send = async |data: Bytes| {
        count(&traffic.down, data.len());
        counted.inc_by(data.len() as u64);
        client.data_bytes(data).await.map_err(|_| Finished::ConnectionGone)
    };
    send(greeting).await?;
    let mut size = *CHUNKS.start();
    let mut buffer = BytesMut::new();
    loop {
        // An idle session waits here, with no buffer of its own.
        pod.readable().await.map_err(Finished::Broken)?;
        buffer.reserve(size);
        match pod.try_read_buf(&mut buffer) {
            Ok(0) => {
                let _ = client.eof().await;
                return Ok(());
            }
            Ok(read) => {
                let full = buffer.len() == buffer.capacity();
                send(buffer.split().freeze()).await?;
                if full {
                    size = (size * 4).min(*CHUNKS.end());
                } else if read < *CHUNKS.start() {
                    size = *CHUNKS.start();
                    buffer = BytesMut::new();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(Finished::Broken(error)),
        }
    }
}

fn count(total: &AtomicI64, bytes: usize) {
    total.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
}
