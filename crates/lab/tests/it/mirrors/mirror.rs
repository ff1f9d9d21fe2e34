//! What a build finds where only mirrors are in reach.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A mirror and a proxy in one, on loopback, that remembers what it was asked for. Debian's packages it gets from where
/// they are, and it has no others.
pub(super) struct Mirror {
    address: SocketAddr,
    asked: Receiver<String>,
}

impl Mirror {
    pub(super) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let tell = tell.clone();
                thread::spawn(move || answer(stream?, &tell));
            }
        });
        Self { address, asked }
    }

    /// What it was asked for since the last call: paths, or whole addresses where it was asked as a proxy.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// Answers one request and closes: apt comes again with the rest.
fn answer(mut stream: TcpStream, tell: &Sender<String>) -> io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let asked = line.split(' ').nth(1).unwrap_or_default().to_owned();
    while reader.read_line(&mut line)? > 2 {}
    let path = match asked.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => asked.as_str(),
    };
    let invented = path.contains("/dists/test-");
    let _ = tell.send(asked.clone());
    if path.starts_with("/debian") && !invented {
        let archive = format!("http://deb.debian.org{path}");
        let got = Command::new("curl").args(["-s", "-i", "--raw", "-H", "Connection: close", &archive]).output()?;
        stream.write_all(&got.stdout)?;
    } else {
        let status = if invented && path.ends_with("/Packages") { "200 OK" } else { "404 Not Found" };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    }
    // What apt sent ahead is read before the end: the kernel would otherwise cut off the answer.
    stream.shutdown(Shutdown::Write)?;
    io::copy(&mut reader, &mut io::sink()).map(drop)
}
