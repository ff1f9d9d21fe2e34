//! The processes of a state folder: started with a log, remembered by pid and start time, ended by pid alone.
//!
//! A pid file holds `PID START`, where START is field 22 of `/proc/PID/stat` (proc(5), clock ticks since boot): a pid
//! that the kernel has given to somebody else since is never taken for ours.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// One process of a state folder.
#[derive(Debug, Clone)]
pub struct Process {
    /// What the process is called: the stem of its pid file and its log.
    pub name: String,
    /// Its process id as the host sees it.
    pub pid: u32,
    log: PathBuf,
    start: u64,
}

impl Process {
    /// Starts `command` in a session of its own, output to `DIR/log/NAME.log`, and remembers it in `DIR/pids/NAME`.
    pub fn start(dir: &Path, name: &str, command: &Command) -> Result<Self> {
        let log = log_path(dir, name);
        fs::create_dir_all(dir.join("log")).with_context(|| format!("making `{}`", dir.join("log").display()))?;
        fs::create_dir_all(dir.join("pids")).with_context(|| format!("making `{}`", dir.join("pids").display()))?;
        let output = File::create(&log).with_context(|| format!("opening the log `{}`", log.display()))?;
        let child = Command::new("setsid")
            .arg(command.get_program())
            .args(command.get_args())
            .envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("sharing a log file")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting `{name}`"))?;
        let pid = child.id();
        let start = stat(pid).map_or(0, |stat| stat.start);
        fs::write(dir.join("pids").join(name), format!("{pid} {start}\n"))
            .with_context(|| format!("writing the pid file of `{name}`"))?;
        Ok(Self { name: name.to_owned(), pid, log, start })
    }

    /// The processes that `dir` remembers, whether they still run or not, by name.
    #[must_use]
    pub fn of(dir: &Path) -> Vec<Self> {
        let mut found: Vec<Self> = fs::read_dir(dir.join("pids"))
            .into_iter()
            .flatten()
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let text = fs::read_to_string(dir.join("pids").join(&name)).ok()?;
                let (pid, start) = text.trim().split_once(' ')?;
                let log = log_path(dir, &name);
                Some(Self { name, pid: pid.parse().ok()?, log, start: start.parse().ok()? })
            })
            .collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// Whether it still runs; a zombie does not.
    #[must_use]
    pub fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && stat.runs())
    }

    /// Fails with the log's path and last lines when it no longer runs.
    pub fn must_live(&self) -> Result<()> {
        if self.alive() {
            return Ok(());
        }
        bail!("`{}` ended\n{}", self.name, tail(&self.log, 12));
    }

    /// Sends `signal`, if it is still the process that was started.
    pub fn signal(&self, signal: Signal) {
        if self.alive()
            && let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw)
        {
            // It may end between the look and the signal, which is what the caller wants anyway.
            let _ = kill_process(pid, signal);
        }
    }

    /// Resident memory of it and of its children, in KiB.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let own = |pid: u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        own(self.pid) + children(self.pid).into_iter().map(own).sum::<u64>()
    }
}

/// Ends all processes of `dir`: asks, waits up to `patience`, then kills.
pub fn stop_all(dir: &Path, patience: Duration) {
    let all = Process::of(dir);
    for process in &all {
        process.signal(Signal::TERM);
    }
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && all.iter().any(Process::alive) {
        std::thread::sleep(Duration::from_millis(20));
    }
    for process in &all {
        process.signal(Signal::KILL);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && all.iter().any(Process::alive) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The direct children of `pid`, as the kernel lists them.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The pid and start time of the calling process, as a pid file holds them.
#[must_use]
pub fn own_identity() -> String {
    let pid = std::process::id();
    format!("{pid} {}", stat(pid).map_or(0, |stat| stat.start))
}

/// Whether the process that wrote `identity` (see [`own_identity`]) still runs.
#[must_use]
pub fn identity_alive(identity: &str) -> bool {
    let parsed =
        identity.trim().split_once(' ').and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)));
    parsed.is_some_and(|(pid, start): (u32, u64)| stat(pid).is_some_and(|stat| stat.start == start && stat.runs()))
}

/// A log's path and its last `lines` lines, as one text for an error.
#[must_use]
pub fn tail(log: &Path, lines: usize) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    let last = all[all.len().saturating_sub(lines)..].join("\n  ");
    format!("the end of its log `{}`:\n  {last}", log.display())
}

struct Stat {
    state: char,
    threads: u32,
    start: u64,
}

impl Stat {
    /// A process whose first thread has ended is shown as a zombie while others still hold its files and ports.
    fn runs(&self) -> bool {
        self.state != 'Z' || self.threads > 1
    }
}

/// State, threads and start time of a process: fields 3, 20 and 22 of `/proc/PID/stat`, counted after the command's
/// closing bracket.
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    Some(Stat { state, threads: fields.get(17)?.parse().ok()?, start: fields.get(19)?.parse().ok()? })
}

fn log_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("log").join(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_pid_is_not_ours() {
        let dir = tempfile::tempdir().unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60");
        let process = Process::start(dir.path(), "sleep", &sleep).unwrap();
        assert!(process.alive());
        let stranger = Process { start: process.start + 1, ..process.clone() };
        assert!(!stranger.alive(), "same pid, other start time");
        stranger.signal(Signal::KILL);
        assert!(process.alive(), "a stranger's signal is not sent");
        stop_all(dir.path(), Duration::from_secs(1));
        assert!(!process.alive());
    }

    #[test]
    fn a_dead_process_is_reported_with_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo the disk is on fire; exit 3"]);
        let process = Process::start(dir.path(), "sh", &shell).unwrap();
        while process.alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let error = process.must_live().unwrap_err().to_string();
        assert!(error.contains("`sh` ended") && error.contains("the disk is on fire"), "{error}");
    }
}
