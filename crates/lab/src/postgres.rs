//! A real PostgreSQL for the production installation: Debian's, on this machine, at the address by which Pods reach it.
//! It has a state folder of its own below the cluster's, and ends with the cluster.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::node::{HOST_ADDRESS, POD_CIDR, run as run_command};
use crate::process::{self, Process};
use crate::secret;

const NAME: &str = "postgres";
const PORT: u16 = 5432;
/// Role, and database.
const ROLE: &str = "fairlead";

/// Starts it, or starts it again, with the rows that it had. Returns the database's URL, with its password.
pub fn ensure(cluster: &Path) -> Result<String> {
    let folder = folder(cluster);
    fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
    let password = secret::ensure(&folder.join("password"))?;
    let url = format!("postgres://{ROLE}:{password}@{HOST_ADDRESS}:{PORT}/{ROLE}");
    if process(cluster).is_some_and(|process| process.alive()) {
        return Ok(url);
    }
    let data = folder.join("data");
    if !data.join("whole").exists() {
        initialise(&folder, &data, &password)?;
    }
    let mut command = as_postgres("postgres")?;
    command.arg("-D").arg(&data).arg("-p").arg(PORT.to_string());
    // One address, no socket; and no shared memory that would outlive a crash.
    let listen = format!("listen_addresses={HOST_ADDRESS}");
    let settings = ["fsync=off", "max_connections=200", "unix_socket_directories=", "dynamic_shared_memory_type=mmap"];
    for setting in settings.into_iter().chain([listen.as_str()]) {
        command.arg("-c").arg(setting);
    }
    let process = Process::start(&folder, NAME, &command)?;
    let address = SocketAddr::from((HOST_ADDRESS, PORT));
    let deadline = Instant::now() + Duration::from_secs(30);
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        process.must_live()?;
        if Instant::now() > deadline {
            bail!("PostgreSQL does not answer at {address} after 30 s");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(url)
}

/// Ends it, where it runs: connections are cut, and what it shares between its processes is given back.
pub fn end(cluster: &Path) {
    if let Some(process) = process(cluster) {
        process.signal(Signal::INT);
        let deadline = Instant::now() + Duration::from_secs(10);
        while process.alive() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    process::stop_all(&folder(cluster), Duration::from_secs(2));
}

/// Its process, whether it runs or not.
#[must_use]
pub fn process(cluster: &Path) -> Option<Process> {
    Process::of(&folder(cluster)).pop()
}

/// A database cluster with one role, which signs in by its password, and a database of that name.
fn initialise(folder: &Path, data: &Path, password: &str) -> Result<()> {
    let _ = fs::remove_dir_all(data);
    fs::create_dir(data).with_context(|| format!("making `{}`", data.display()))?;
    fs::set_permissions(data, fs::Permissions::from_mode(0o700)).context("closing PostgreSQL's folder")?;
    let (user, group) = owner()?;
    chown(data, Some(user), Some(group)).context("giving PostgreSQL its folder")?;
    let words = folder.join("initial-password");
    secret::write(&words, password)?;
    chown(&words, Some(user), Some(group)).context("giving PostgreSQL its password")?;
    let mut initdb = as_postgres("initdb")?;
    initdb.args(["--auth=scram-sha-256", "--username", ROLE, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
    initdb.arg("--pwfile").arg(&words).arg("-D").arg(data);
    run_command("making a database", &mut initdb)?;
    fs::remove_file(&words).context("removing the initial password")?;
    let hosts = format!("host all {ROLE} {POD_CIDR} scram-sha-256\n");
    fs::write(data.join("pg_hba.conf"), hosts).context("writing who may connect")?;
    // By itself, before anybody may connect.
    let mut single = as_postgres("postgres")?;
    single.args(["--single", "-j", "-D"]).arg(data).arg("postgres");
    let mut shell = Command::new("sh");
    shell.args(["-c", "echo \"create database $0;\" | exec \"$@\"", ROLE]).arg(single.get_program());
    run_command("making the database `fairlead`", shell.args(single.get_args()))?;
    fs::write(data.join("whole"), "").context("marking the database as made")
}

fn folder(cluster: &Path) -> PathBuf {
    cluster.join(NAME)
}

/// The newest of Debian's programs, which are in no `PATH`, as the user `postgres`: it refuses to run as root.
fn as_postgres(program: &str) -> Result<Command> {
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let all = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = all.filter(|path| path.join("bin/initdb").exists()).max_by_key(version);
    let newest = newest.context("PostgreSQL is not installed\nhint: lab/setup")?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]);
    command.arg(newest.join("bin").join(program));
    Ok(command)
}

/// The ids of the user `postgres`.
fn owner() -> Result<(u32, u32)> {
    let id = |flag: &str| -> Result<u32> {
        let said = run_command("asking for the user `postgres`", Command::new("id").args([flag, "postgres"]))?;
        said.trim().parse().context("reading the user's id")
    };
    Ok((id("-u")?, id("-g")?))
}
