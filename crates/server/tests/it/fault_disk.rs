//! SQLite on a disk that is full: people get in, the log says what is wrong, and nothing is lost when there is space.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _};

use crate::cluster::eventually;
use crate::databases::Database;
use crate::fault_server::lines_with;
use crate::fault_site::Site;

/// A small disk in memory; it is unmounted with this value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=2m", "fairlead-test"];
        assert!(Command::new("mount").args(mount).arg(dir.path()).status().unwrap().success());
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes what is free, to the last byte.
    fn fill(&self) {
        let mut file = File::create(self.path().join("filler")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test leaves may have files open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_no_login_is_said_clearly_and_loses_nothing() {
    let disk = Disk::mount();
    let site = Site::start(Database::sqlite_in(disk.path())).await;
    let mut server = site.serve("operator,gateway");
    let _bert = site.notebook("bert").await;
    server.listens().await;
    let alice = site.person("alice", &server).await;
    site.opens(&alice, "bert").await;
    let mut live = alice.stays_in("bert.team-a.notebook").await;
    site.has_recorded(site.sessions().await.len(), 1).await;

    // What the database has set aside for what it writes next would let it go on for a while.
    sql(&disk, "pragma wal_checkpoint(truncate)").await;
    disk.fill();
    let path = disk.path().join("fairlead.db").display().to_string();
    for _ in 0..4 {
        alice.gets_into("bert.team-a.notebook").await.is_in("bert");
    }
    live.echoes("on a full disk").await;
    let carol = site.stranger("carol", &server).await;
    let refused = keys_add(&site, &carol.path("key.pub"));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && told.contains("is full") && told.contains(&path), "{told}");
    assert!(told.contains("hint: "), "{told}");
    // Every part has something to write meanwhile, and tries that again and again.
    site.cluster.profile("team-b", "erin@example.com").await;
    site.cluster.running_notebook("team-b", "late", "192.0.2.9").await;
    eventually("parts complain", async || (lines_with(&server.says(), "is full") >= 3).then_some(())).await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let said = server.says();
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("is full")).collect();
    assert!(complaints.iter().all(|line| line.contains(&path)), "{complaints:#?}");
    // The recorder, the heartbeat, the picture, and four of the operator, once each.
    assert!(complaints.len() <= 7, "it goes on about it: {complaints:#?}");

    // Who starts now lets people in, and says what is wrong; a new database cannot be made, which is said, too.
    let mut second = site.serve("gateway");
    second.listens().await;
    eventually("it says so", async || (lines_with(&second.says(), "is full") > 0).then_some(())).await;
    assert!(second.says().contains(&path), "{}", second.says());
    drop(second);
    let mut new = site.serve_with("gateway", |command| {
        command.env("FAIRLEAD_DATABASE", format!("sqlite:{}/new.db", disk.path().display()));
    });
    let told = new.ends().await;
    assert!(told.contains("error: ") && told.contains("is full") && told.contains("new.db"), "{told}");

    disk.free();
    drop(live.child.stdin.take());
    site.has_recorded_all_of(&server).await;
    let added = keys_add(&site, &carol.path("key.pub"));
    assert!(added.status.success(), "{added:?}");
    assert_eq!(sql(&disk, "pragma integrity_check").await, "ok");
    assert_eq!(lines_with(&server.says(), "ERROR"), 0, "{}", server.says());
}

/// `keys add carol@example.com FILE`.
fn keys_add(site: &Site, file: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.env_clear().stdin(Stdio::null()).env("FAIRLEAD_DATABASE", site.cluster.url());
    command.args(["keys", "add", "carol@example.com"]).arg(file).output().unwrap()
}

async fn sql(disk: &Disk, sql: &'static str) -> String {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(disk.path().join("fairlead.db"));
    let mut connection = options.connect().await.unwrap();
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let first = rows.first().unwrap();
    sqlx::Row::try_get::<String, _>(first, 0).unwrap_or_default()
}
