//! The backup of docs/operations.md, by its very commands: a running server's database and Secret are saved, both are
//! destroyed, nothing starts in silence without them, and after the restore everything is as it was.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fairlead_model::Label;
use fairlead_server::{clock, identity_store};
use k8s_openapi::api::core::v1::Secret;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::{Cluster, SYSTEM, eventually, id, who};
use crate::cluster_program::{Serving, program, serve_at, text};
use crate::databases::Database;
use crate::gateway_person::Client;
use crate::postgres::Postgres;
use crate::rows::begin;

/// What is saved and destroyed, with the folder of the backups.
struct Drill {
    cluster: Cluster,
    dir: tempfile::TempDir,
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    output
}

impl Drill {
    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    async fn starts(&self) -> Serving {
        let path = Path::new(env!("CARGO_BIN_EXE_fairlead-server"));
        serve_at(path, &self.cluster, self.dir.path()).await.unwrap_or_else(|said| panic!("it did not start: {said}"))
    }

    /// Starts it, which must fail; with these words.
    async fn refuses(&self, words: &[&str]) {
        let path = Path::new(env!("CARGO_BIN_EXE_fairlead-server"));
        let said = serve_at(path, &self.cluster, self.dir.path()).await.err().expect("it starts");
        assert!(words.iter().all(|word| said.contains(word)), "wanted {words:?}: {said}");
    }

    fn kubectl(&self, words: &[&str]) -> Output {
        run(Command::new("kubectl").arg("--kubeconfig").arg(&self.cluster.plane.kubeconfig).args(words))
    }

    fn save_secret(&self, name: &str) {
        let yaml = self.kubectl(&["get", "secret", "-n", SYSTEM, identity_store::SECRET, "-o", "yaml"]).stdout;
        fs::write(self.path(name), yaml).unwrap();
    }

    async fn restore_secret(&self, name: &str) {
        self.lose_secret().await;
        self.kubectl(&["apply", "-f", self.path(name).to_str().unwrap()]);
    }

    async fn lose_secret(&self) {
        if self.cluster.secret(SYSTEM, identity_store::SECRET).await.is_some() {
            self.cluster.delete::<Secret>(SYSTEM, identity_store::SECRET).await;
        }
    }

    fn save_database(&self, name: &str) {
        if self.cluster.database.file().is_some() {
            let output = run(&mut program(&self.cluster, &["database", "backup", "-"]));
            return fs::write(self.path(name), output.stdout).unwrap();
        }
        let refused = program(&self.cluster, &["database", "backup", "-"]).output().unwrap();
        assert!(!refused.status.success() && text(&refused).contains("hint: pg_dump"), "{}", text(&refused));
        let dump = run(Command::new("pg_dump").args(["--no-owner", "--dbname", &self.cluster.url()]));
        fs::write(self.path(name), dump.stdout).unwrap();
    }

    /// Removes the file and what SQLite keeps beside it; drops the database.
    fn lose_database(&self) {
        match self.cluster.database.file() {
            Some(file) => {
                for end in ["", "-wal", "-shm"] {
                    // Those beside it are not always there.
                    let _ = fs::remove_file(format!("{}{end}", file.display()));
                }
            }
            None => self.on_the_server("drop database if exists \"NAME\" with (force)"),
        }
    }

    fn restore_database(&self, name: &str) {
        self.lose_database();
        if let Some(file) = self.cluster.database.file() {
            fs::copy(self.path(name), file).unwrap();
            return;
        }
        self.make_database();
        let dump = File::open(self.path(name)).unwrap();
        let words = ["-q", "-v", "ON_ERROR_STOP=1", "--dbname", &self.cluster.url()];
        let output = Command::new("psql").args(words).stdin(dump).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    }

    /// An empty one, where that has to be made.
    fn make_database(&self) {
        if self.cluster.database.file().is_none() {
            self.on_the_server("create database \"NAME\"");
        }
    }

    fn on_the_server(&self, sql: &str) {
        let url = self.cluster.url();
        let (server, name) = url.rsplit_once('/').unwrap();
        let (server, sql) = (format!("{server}/postgres"), sql.replace("NAME", name));
        run(Command::new("psql").args(["-q", "--dbname", &server, "-c", &sql]));
    }

    async fn ml(&self) -> Option<Secret> {
        self.cluster.secret("team-a", "fairlead-ml").await
    }
}

/// As a crash would.
fn kill(mut serving: Serving) {
    let pid = Pid::from_raw(i32::try_from(serving.program.0.id()).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    serving.program.0.wait().unwrap();
}

async fn signs_in(client: &Client, at: &Serving) {
    let port = at.gateway.port().to_string();
    let said = client.runs(&["-p", &port, "fairlead-gateway", "whoami"]).await;
    assert!(said.code == Some(0) && said.out.starts_with("ann@example.com\n"), "{said:?}");
}

/// Private and public host key.
fn host_key(secret: &Secret) -> [Vec<u8>; 2] {
    let data = secret.data.as_ref().unwrap();
    ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"].map(|name| data[name].0.clone())
}

async fn drill(database: Database) {
    let drill = Drill { cluster: Cluster::on(database).await, dir: tempfile::tempdir().unwrap() };
    let cluster = &drill.cluster;
    let team = Label::parse("team-a").unwrap();
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "192.0.2.77").await;
    // Somebody could read its Secret, and left.
    cluster.store.note_readers(&team, &[who("ann@example.com"), who("bob@example.com")].into()).await.unwrap();
    let server = drill.starts().await;
    let line = String::from_utf8(run(&mut program(cluster, &["ca", "show"])).stdout).unwrap();
    let line = line.lines().nth(1).unwrap().trim().to_owned();
    let ann = Client::new("ann", "ed25519", server.gateway, &line);
    cluster.store.add_key(&who("ann@example.com"), &ann.public(), "", clock::now()).await.unwrap();
    cluster.store.begin_session(&begin("kept", 0)).await.unwrap();
    eventually("the key counts", async || {
        let port = server.gateway.port().to_string();
        (ann.runs(&["-p", &port, "fairlead-gateway", "whoami"]).await.code == Some(0)).then_some(())
    })
    .await;
    let shown = async || cluster.store.host_key(&id("team-a", "ml")).await.unwrap();
    eventually("the notebook's Secret, at epoch 1", async || shown().await).await;
    let before = drill.ml().await.unwrap();
    assert_eq!(cluster.store.epochs().await.unwrap()[&team], 1);

    // Saved while it runs, then all is lost.
    drill.save_secret("identity.yaml");
    drill.save_database("backup");
    kill(server);
    drill.lose_secret().await;
    cluster.delete::<Secret>("team-a", "fairlead-ml").await;
    drill.lose_database();

    // Each of the two is refused without the other, and says what is missing.
    drill.restore_secret("identity.yaml").await;
    if cluster.database.file().is_none() {
        drill.refuses(&["opening the database `postgres://", "does not exist"]).await;
    }
    drill.make_database();
    drill.refuses(&["is older than the database", "restore the database"]).await;
    drill.restore_database("backup");
    drill.lose_secret().await;
    drill.refuses(&["`fairlead-system/fairlead-identity` is gone", &line, "hint: kubectl apply -f BACKUP"]).await;
    assert!(drill.ml().await.is_none(), "nothing was written meanwhile");

    // Both: the same host keys byte for byte, the same people, by what their laptops have.
    drill.restore_secret("identity.yaml").await;
    let server = drill.starts().await;
    signs_in(&ann, &server).await;
    let after = eventually("the notebook's Secret", async || drill.ml().await).await;
    assert_eq!(host_key(&after), host_key(&before));
    let store = cluster.database.open().await;
    assert_eq!(store.epochs().await.unwrap()[&team], 1);
    assert_eq!(store.list_sessions(None, 10).await.unwrap().len(), 1);

    // Backups of different ages: what was signed by the one is not believed by the other.
    for words in [&["ca", "rotate"][..], &["ca", "rotate", "--yes"]] {
        run(&mut program(cluster, words));
    }
    drill.save_secret("newer.yaml");
    drill.save_database("newer");
    kill(server);
    drop(store);
    drill.restore_database("backup");
    drill.refuses(&["has another host CA than the database", "hint: kubectl apply -f BACKUP"]).await;
    drill.restore_database("newer");
    drill.restore_secret("identity.yaml").await;
    drill.refuses(&["has another host CA than the database", "hint: kubectl apply -f BACKUP"]).await;
    drill.restore_database("backup");
    signs_in(&ann, &drill.starts().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_comes_back_on_sqlite() {
    drill(Database::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_comes_back_on_postgresql() {
    drill(Database::postgres(Postgres::shared()).await).await;
}

#[tokio::test]
async fn a_backup_of_sqlite_is_one_whole_file_and_a_copied_file_needs_the_one_beside_it() {
    let database = Database::sqlite();
    let store = database.open().await;
    let file = database.file().unwrap();
    // It ends in the write-ahead log, and stays there while somebody has the database open.
    store.save_picture("{}", clock::now()).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let reads = async |name: &str| {
        let url = format!("sqlite:{}", at(name).display());
        fairlead_server::store::Store::open(&url).await.unwrap().load_picture().await.unwrap().is_some()
    };
    let backup = async |to: &Path| fairlead_server::store::backup::backup(&database.url().into(), to).await;
    fs::copy(file, at("copied")).unwrap();
    assert!(!reads("copied").await, "the file alone lacks what was written last");
    for end in ["", "-wal"] {
        fs::copy(format!("{}{end}", file.display()), at(&format!("both{end}"))).unwrap();
    }
    assert!(reads("both").await);
    backup(&at("backup")).await.unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(at("backup")).unwrap().permissions()) & 0o777,
        0o600
    );
    assert!(reads("backup").await);
    let twice = format!("{:#}", backup(&at("backup")).await.unwrap_err());
    assert!(twice.contains("File exists"), "{twice}");
    let none = fairlead_server::store::backup::backup(&"sqlite:/nowhere/fairlead.db".into(), &at("none")).await;
    assert!(none.is_err() && !at("none").exists(), "nothing is made where there is no database");
    assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 3, "nothing is left beside it");
}
