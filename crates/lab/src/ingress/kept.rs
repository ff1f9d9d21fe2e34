//! The ingress as a program of the lab: it runs on when its caller ends, and ends with the cluster.
//!
//! It has a state folder of its own below the cluster's: ended or started again, it is no sign of a broken cluster.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use super::Visitor;
use crate::process::{self, Process};
use crate::{apiserver, secret};

const NAME: &str = "ingress";

/// Starts it, or starts it again where it was told something else, on the port that it had before. Returns its address.
///
/// `cluster` is the cluster's state folder, `upstream` the page, `secret` the file that has the ingress's secret.
pub fn ensure(cluster: &Path, program: &Path, upstream: &str, secret: &Path, people: &[Visitor]) -> Result<SocketAddr> {
    let folder = folder(cluster);
    fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
    let address = address(&folder)?;
    let mut command = Command::new(program);
    command.args(["ingress", "--listen", &address.to_string(), "--upstream", upstream, "--secret-file"]).arg(secret);
    for person in people {
        command.arg("--person").arg(format!("{}={}", person.user, person.namespaces.join(",")));
    }
    let wish = wish(&command, secret)?;
    let told = folder.join("told");
    let runs = || Process::of(&folder).into_iter().find(Process::alive);
    if runs().is_some() && fs::read_to_string(&told).is_ok_and(|told| told == wish) {
        return Ok(address);
    }
    end(cluster);
    let process = Process::start(&folder, NAME, &command)?;
    secret::write(&told, &wish)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        process.must_live()?;
        if Instant::now() > deadline {
            bail!("the ingress does not answer at {address} after 20 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(address)
}

/// Ends it, where it runs.
pub fn end(cluster: &Path) {
    process::stop_all(&folder(cluster), Duration::from_secs(2));
}

/// Its process, whether it runs or not.
#[must_use]
pub fn process(cluster: &Path) -> Option<Process> {
    Process::of(&folder(cluster)).pop()
}

fn folder(cluster: &Path) -> PathBuf {
    cluster.join(NAME)
}

/// Where it listened before, so that people's bookmarks stay true; else a free port of loopback.
fn address(folder: &Path) -> Result<SocketAddr> {
    let file = folder.join("address");
    let before = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<SocketAddr>().ok());
    // Its own process may hold the port; somebody else's may not.
    let own = || Process::of(folder).iter().any(Process::alive);
    if let Some(before) = before
        && (own() || TcpListener::bind(before).is_ok())
    {
        return Ok(before);
    }
    let [port] = apiserver::free_ports()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    fs::write(&file, format!("{address}\n")).with_context(|| format!("writing `{}`", file.display()))?;
    Ok(address)
}

/// All that it depends on, as one text: its command line, the secret, and of which build it is.
fn wish(command: &Command, secret: &Path) -> Result<String> {
    let program = Path::new(command.get_program());
    let built = fs::metadata(program).and_then(|meta| meta.modified());
    let built = built.with_context(|| format!("looking at `{}`", program.display()))?;
    let built = built.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let words: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
    let secret = fs::read_to_string(secret).with_context(|| format!("reading `{}`", secret.display()))?;
    Ok(format!("{built}\n{secret}\n{}\n", words.join("\n")))
}
