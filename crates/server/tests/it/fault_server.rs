//! One process of the program that a test may break, and somebody who logs in through it again and again.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::eventually;
use crate::gateway_person::{Client, Said};

/// One process of the program; it is killed with this value.
pub(crate) struct Server {
    pub(crate) gateway: SocketAddr,
    pub(crate) log: PathBuf,
    pub(crate) child: Child,
}

/// Somebody who logs in again and again.
pub(crate) struct Steady {
    stop: CancellationToken,
    work: JoinHandle<(u32, Duration)>,
}

impl Server {
    /// Waits until its gateway listens.
    pub(crate) async fn listens(&mut self) {
        eventually("the gateway listens", async || {
            assert_eq!(self.child.try_wait().unwrap(), None, "the server ended: {}", self.says());
            TcpStream::connect(self.gateway).await.ok()
        })
        .await;
    }

    /// Its log.
    pub(crate) fn says(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself; what it said.
    pub(crate) async fn ends(&mut self) -> String {
        eventually("the server ends", async || self.child.try_wait().unwrap()).await;
        self.says()
    }

    /// Resident memory in KiB, and CPU time since it began.
    pub(crate) fn costs(&self) -> (u64, Duration) {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid())).unwrap();
        let status = of("status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.split_whitespace().next().unwrap().parse().unwrap();
        let stat = of("stat");
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime of proc(5), in ticks of 10 ms.
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        (resident, Duration::from_millis(ticks * 10))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.says();
            let last: Vec<&str> = log.lines().rev().take(40).collect();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            // Where nobody listens, nobody misses it.
            let _ = writeln!(std::io::stderr(), "the end of a server's log:\n{last}");
        }
    }
}

impl Steady {
    /// Logs in to a notebook, pauses and begins again, until it is asked for; every login has to work.
    pub(crate) fn begin(client: Client, notebook: &str, pause: Duration) -> Self {
        let stop = CancellationToken::new();
        let (stopped, host, name) = (stop.clone(), format!("{notebook}.team-a.notebook"), notebook.to_owned());
        let work = tokio::spawn(async move {
            let (mut count, mut longest) = (0, Duration::ZERO);
            while !stopped.is_cancelled() {
                let began = Instant::now();
                let said: Said = client.gets_into(&host).await;
                said.is_in(&name);
                longest = longest.max(began.elapsed());
                count += 1;
                tokio::time::sleep(pause).await;
            }
            (count, longest)
        });
        Self { stop, work }
    }

    /// How many logins worked, and the longest of them.
    pub(crate) async fn ends(self) -> (u32, Duration) {
        self.stop.cancel();
        self.work.await.expect("a login failed")
    }

    pub(crate) fn goes_on(&self) {
        assert!(!self.work.is_finished(), "a login failed");
    }
}

/// How many lines of a log have this in them.
pub(crate) fn lines_with(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}
