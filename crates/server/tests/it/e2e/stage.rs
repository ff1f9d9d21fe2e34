//! One profile of its own for each test, its people, and what they type.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::fs::File;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use fairlead_lab::cluster::Cluster;
use fairlead_lab::install::Installed;
use fairlead_lab::kubeflow::contributor::Role;
use fairlead_lab::people::{Person, Tried};
use fairlead_lab::{paths, team};
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A profile with its people. It goes with this value.
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) client: Client,
    pub(crate) cluster: Cluster,
    pub(crate) fairlead: Installed,
    folder: TempDir,
    authority: String,
    _alone: File,
}

/// An ssh that stays, with `cat` at its end.
pub(crate) struct Live(Child);

impl Stage {
    /// A profile that belongs to `alice`, and its namespace.
    pub(crate) async fn new(test: &str) -> (Self, Person) {
        let alone = tokio::task::spawn_blocking(|| paths::lock(&paths::cluster().with_extension("e2e")))
            .await
            .unwrap()
            .unwrap();
        let cluster = Cluster::shared().await.unwrap();
        let client = cluster.client().await.unwrap();
        let at = cluster.clone();
        let fairlead = tokio::task::spawn_blocking(move || Installed::ensure(&at)).await.unwrap().unwrap();
        let authority = fairlead.admin(&["ca", "show"], "").unwrap();
        let name = format!("e2e-{test}-{}", SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis());
        let folder = tempfile::tempdir().unwrap();
        let stage = Self { name, client, cluster, fairlead, folder, authority, _alone: alone };
        team::profile(&stage.client, &stage.name, &stage.user("alice")).await.unwrap();
        stage.fairlead.mounts(&stage.client, &stage.name).await.unwrap();
        let alice = stage.person("alice").await;
        (stage, alice)
    }

    /// A user id that no other test has.
    pub(crate) fn user(&self, name: &str) -> String {
        format!("{name}@{}.example.com", self.name)
    }

    /// Somebody with a confirmed key and a configured ssh, and no right to anything.
    pub(crate) async fn person(&self, name: &str) -> Person {
        let person = self.stranger(name);
        person.register(&self.fairlead).unwrap();
        person.configure().await.unwrap();
        person
    }

    /// Somebody with a key that nobody registered.
    pub(crate) fn stranger(&self, name: &str) -> Person {
        Person::prepare(&self.folder.path().join(name), &self.user(name), &self.authority).unwrap()
    }

    /// A contributor with a confirmed key.
    pub(crate) async fn member(&self, name: &str, role: Role) -> Person {
        team::member(&self.client, &self.name, &self.user(name), role).await.unwrap();
        self.person(name).await
    }

    /// A Notebook whose Pod runs.
    pub(crate) async fn notebook(&self, name: &str) -> (String, String) {
        team::notebook(&self.client, &self.name, name).await.unwrap();
        team::pod(&self.client, &self.name, name).await.unwrap()
    }

    /// What people type for a notebook of this profile.
    pub(crate) fn host(&self, notebook: &str) -> String {
        format!("{notebook}.{}.notebook", self.name)
    }

    /// The Notebooks of this profile.
    pub(crate) fn notebooks(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &team::kind("Notebook"))
    }

    /// Changes a Notebook.
    pub(crate) async fn patch(&self, notebook: &str, change: Value) {
        self.notebooks().patch(notebook, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    /// Waits until a person gets in, and says how long that took.
    pub(crate) async fn let_in(&self, person: &Person, notebook: &str, seconds: u64) -> Duration {
        let host = self.host(notebook);
        within(seconds, &format!("{} gets into {host}", person.user), async || {
            person.ssh(&host, "true").await.unwrap().ok()
        })
        .await
    }

    /// Waits until a person is refused for `reason`.
    pub(crate) async fn refused(&self, person: &Person, notebook: &str, reason: &str, seconds: u64) -> Duration {
        let host = self.host(notebook);
        let mut last = String::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(seconds) {
            match person.ssh(&host, "true").await.unwrap() {
                Err(said) if said.contains(reason) => return began.elapsed(),
                other => last = format!("{other:?}"),
            }
        }
        panic!("{} is not refused for `{reason}` within {seconds} s: {last}", person.user);
    }

    /// Whether Fairlead's log has all of `words` in one line.
    pub(crate) async fn logs(&self, words: &[&str]) {
        let found = async || {
            let log = self.fairlead.log().unwrap_or_default();
            log.lines().any(|line| words.iter().all(|word| line.contains(word))).then_some(())
        };
        within(5, &format!("a line of the log with {words:?}"), found).await;
    }
}

impl Drop for Stage {
    /// Best effort, also after a panic.
    fn drop(&mut self) {
        let (cluster, name) = (self.cluster.clone(), self.name.clone());
        let end = async move {
            let profiles: Api<DynamicObject> = Api::all_with(cluster.client().await?, &team::kind("Profile"));
            profiles.delete(&name, &DeleteParams::default()).await?;
            anyhow::Ok(())
        };
        let _ = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(end)).join();
    }
}

impl Live {
    /// Opens a session that echoes.
    pub(crate) async fn open(person: &Person, host: &str) -> Self {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(person.config()).args([host, "cat"]).kill_on_drop(true);
        let mut child = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(b"echo").await.unwrap();
        let mut back = [0; 4];
        let read = child.stdout.as_mut().unwrap().read_exact(&mut back);
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("the session echoes").unwrap();
        assert_eq!(&back, b"echo");
        Self(child)
    }

    /// Waits for the session's end, which must come within `seconds`; what ssh said.
    pub(crate) async fn ends_within(self, seconds: u64) -> (Duration, String) {
        let began = Instant::now();
        let mut child = self.0;
        // The pipe stays open: nothing but a cut ends this session.
        let stdin = child.stdin.take();
        let ended = tokio::time::timeout(Duration::from_secs(seconds), child.wait_with_output());
        let output = ended.await.expect("the session is cut").unwrap();
        drop(stdin);
        assert!(!output.status.success(), "{output:?}");
        (began.elapsed(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Whether it still echoes.
    pub(crate) async fn echoes(&mut self) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        self.0.stdin.as_mut().unwrap().write_all(b"more").await.unwrap();
        let mut back = [0; 4];
        let read = self.0.stdout.as_mut().unwrap().read_exact(&mut back);
        tokio::time::timeout(Duration::from_secs(5), read).await.expect("the session still echoes").unwrap();
    }
}

/// Asks until there is an answer, and says how long that took. Fails the test when there is none in time.
pub(crate) async fn within<T>(seconds: u64, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Duration {
    let began = Instant::now();
    while ask().await.is_none() {
        assert!(began.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

/// The refusal of an ssh that must not have got in.
#[track_caller]
pub(crate) fn refusal(tried: Tried) -> String {
    tried.expect_err("got in")
}
