//! A session channel: one command, its answer, its exit status. The task that runs it owns the channel from the start,
//! so that whatever a client sends is read and stalls nobody.

use std::sync::Arc;
use std::time::Duration;

use russh::server::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, Error};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tracing::debug;

use super::answers::{self, Answer};
use super::commands::{self, Command, HELP};
use super::connection::Connection;

/// A key's line is at most 8 KiB; the rest is somebody's mistake.
const MAX_INPUT: usize = 16 * 1024;
/// Time to paste a key.
const INPUT: Duration = Duration::from_mins(1);

/// Runs the first command of a channel, and closes it.
pub(super) async fn run(connection: Arc<Connection>, channel: Channel<Msg>, place: OwnedSemaphorePermit) {
    let answer = async {
        let (mut client, out) = channel.split();
        let Some(answer) = first_command(&connection, &mut client).await else { return Ok(()) };
        // Read no more: what still comes is dropped by the library.
        drop(client);
        out.data_bytes(answer.out).await?;
        out.extended_data_bytes(1, answer.err).await?;
        out.exit_status(answer.status).await?;
        out.eof().await?;
        out.close().await
    };
    let result: Result<(), Error> = tokio::select! {
        result = answer => result,
        _ = connection.ended() => Ok(()),
    };
    if let Err(error) = result {
        debug!(%error, "answering a command");
    }
    drop(place);
}

/// Waits for a command and answers it; `None` where the client leaves without one.
async fn first_command(connection: &Connection, client: &mut ChannelReadHalf) -> Option<Answer> {
    loop {
        let line = match client.wait().await? {
            ChannelMsg::Exec { command, .. } => command,
            // OpenSSH without a command. There is no shell, so it is told what there is instead.
            ChannelMsg::RequestShell { .. } => {
                return Some(Answer { out: String::new(), err: format!("there is no shell here\n{HELP}"), status: 1 });
            }
            ChannelMsg::Close => return None,
            _ => continue,
        };
        let command = match commands::parse(&line) {
            Ok(Command::KeysAdd { line: None }) => Command::KeysAdd { line: input(client).await },
            Ok(command) => command,
            Err(bad) => return Some(Answer::failed(2, bad)),
        };
        return Some(answers::answer(connection, command).await);
    }
}

/// Standard input up to its end; what cannot be a key's line is no input.
async fn input(client: &mut ChannelReadHalf) -> Option<String> {
    let mut input = Vec::new();
    let read = async {
        while let Some(message) = client.wait().await {
            match message {
                ChannelMsg::Data { data } if input.len() + data.len() <= MAX_INPUT => input.extend_from_slice(&data),
                ChannelMsg::Eof => break,
                ChannelMsg::Data { .. } | ChannelMsg::Close => return None,
                _ => {}
            }
        }
        Some(())
    };
    timeout(INPUT, read).await.ok()??;
    String::from_utf8(input).ok()
}
