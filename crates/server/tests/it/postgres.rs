//! A real PostgreSQL in a folder of its own, reached by a socket there, ended with its last user.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use fairlead_lab::process::{Process, children};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{ConnectOptions, Connection, Executor};
use tempfile::TempDir;

/// One server.
pub(crate) struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    running: Mutex<Option<Process>>,
    databases: AtomicU32,
}

impl Postgres {
    /// The server that all tests of this process share; the last one to use it ends it.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// A server of one's own, to stop and to freeze.
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = Self { programs: programs(), dir, running: Mutex::new(None), databases: AtomicU32::new(0) };
        if is_root() {
            let owner = Command::new("chown").arg("postgres").arg(server.dir.path()).status().unwrap();
            assert!(owner.success(), "the folder could not be given to the user `postgres`");
        }
        let mut initdb = server.command("initdb");
        initdb.args(["--auth=trust", "--username=fairlead", "--no-sync", "-D"]).arg(server.data());
        let made = initdb.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.resume_from_stop();
        server
    }

    /// The URL of a database that nobody else has.
    pub(crate) async fn fresh_database(&self) -> String {
        let name = format!("story{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = self.connect("postgres").await.unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("create database {name}"))).await.unwrap();
        connection.close().await.unwrap();
        self.url(&name)
    }

    /// Ends it: every connection breaks, and new ones are refused.
    pub(crate) fn stop(&self) {
        let running = self.running().take();
        if let Some(process) = running {
            process.signal(Signal::QUIT);
            let patience = Instant::now() + Duration::from_secs(10);
            while process.alive() && Instant::now() < patience {
                std::thread::sleep(Duration::from_millis(10));
            }
            // Seen once in thirty runs: it went on after SIGQUIT.
            process.signal(Signal::KILL);
            wait("PostgreSQL ends", || !process.alive());
        }
    }

    /// Starts it again and waits until it takes connections.
    pub(crate) fn resume_from_stop(&self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-k").arg(self.dir.path());
        for setting in ["listen_addresses=", "fsync=off", "max_connections=200", "unix_socket_permissions=0777"] {
            command.arg("-c").arg(setting);
        }
        let process = Process::start(&self.state(), "postgres", &command).unwrap();
        let ready = self.state().join("log/postgres.log");
        wait("PostgreSQL takes connections", || {
            process.must_live().unwrap();
            fs::read_to_string(&ready).unwrap().contains("ready to accept connections")
        });
        *self.running() = Some(process);
    }

    /// Freezes it: connections stay open and nothing answers.
    pub(crate) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    fn signal_all(&self, signal: Signal) {
        let running = self.running();
        let process = running.as_ref().expect("it runs");
        process.signal(signal);
        for child in children(process.pid) {
            if let Some(pid) = i32::try_from(child).ok().and_then(Pid::from_raw) {
                // One that has just ended needs no signal.
                let _ = kill_process(pid, signal);
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Process>> {
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn connect(&self, database: &str) -> sqlx::Result<sqlx::PgConnection> {
        self.url(database).parse::<sqlx::postgres::PgConnectOptions>()?.connect().await
    }

    fn url(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://fairlead:not-asked-for@{socket}/{database}")
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Pid and log, in a folder beside, which the user `postgres` does not write.
    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// PostgreSQL refuses to run as root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.running().is_some() {
            self.thaw();
            self.stop();
        }
    }
}

/// The newest of Debian's, which are in no `PATH`.
fn programs() -> PathBuf {
    let all = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed (hint: lab/setup)");
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = all.map(|entry| entry.unwrap().path()).filter(|path| path.join("bin/initdb").exists());
    newest.max_by_key(|path| version(path)).expect("PostgreSQL is installed (hint: lab/setup)").join("bin")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "waited 30 s: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
