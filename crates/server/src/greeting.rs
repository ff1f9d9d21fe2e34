//! Whether an sshd answers at an address: it greets with `SSH-` before anything else (RFC 4253, section 4.2).

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one try may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nobody greeted.
#[derive(Debug, thiserror::Error)]
pub enum NoGreeting {
    /// The Pod's address answers that nothing listens.
    #[error("nothing listens there")]
    Refused,
    /// Nothing came back.
    #[error("no answer in {} s: a network policy may be in the way", PATIENCE.as_secs())]
    Silent,
    /// Connected, and closed again before a greeting: as a mesh's sidecar does with what it denies.
    #[error("closed without a greeting: a policy of the mesh may be in the way")]
    Closed,
    /// Something that is no sshd.
    #[error("what answers there is no SSH server")]
    Other,
    /// The network.
    #[error("connecting")]
    Io(#[source] std::io::Error),
}

/// Dials and reads the greeting.
pub async fn read(address: SocketAddr) -> Result<(), NoGreeting> {
    timeout(PATIENCE, dial(address)).await.unwrap_or(Err(NoGreeting::Silent))
}

async fn dial(address: SocketAddr) -> Result<(), NoGreeting> {
    let sort = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => NoGreeting::Refused,
        std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::UnexpectedEof => NoGreeting::Closed,
        _ => NoGreeting::Io(error),
    };
    let mut stream = TcpStream::connect(address).await.map_err(sort)?;
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).await.map_err(sort)?;
    if &greeting == b"SSH-" { Ok(()) } else { Err(NoGreeting::Other) }
}
