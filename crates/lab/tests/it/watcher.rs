//! What watches over sshd: killed, it comes back; what it could not do at once, it does later; people's sessions stay.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::time::{Duration, Instant};

use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::harness::{Connection, Person, within};
use crate::identity::{HOST, Identity, with_secret};
use crate::notebook::{Namespace, Notebook, Wish};

/// The process ids of the service's own shell, in the old way to run sshd and in the new.
const WATCHER: &str = "grep -lx serve-sshd /proc/[0-9]*/comm | cut -d/ -f3";
const SSHD: &str = "cat /ssh_conf/sshd.pid";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_after_the_watcher_was_killed_and_the_configuration_was_broken() {
    let namespace = Namespace::new("watcher").await;
    let alice = Person::new("alice");
    let identity = Identity::new();
    let files = identity.files(&alice.public_key(), 1);
    let mut uncertified = files.clone();
    uncertified.as_object_mut().unwrap().remove("ssh_host_ed25519_key-cert.pub");
    namespace.keeps(&uncertified).await;
    let notebook = namespace.start("ml", with_secret()).await;
    notebook.listens().await;
    identity.ssh(&alice, &notebook, HOST).refused("Host key verification failed");

    let mut session = Session::new(&alice, &notebook);
    let sshd = notebook.inside(SSHD);
    let watcher = notebook.inside(WATCHER);
    notebook.inside(&format!("kill -9 {watcher}"));
    let new = async || Some(notebook.inside(WATCHER)).filter(|now| !now.is_empty() && *now != watcher);
    within(10, "another watcher", new).await;
    notebook.logs(&["reloading the sshd that runs already"]).await;

    notebook.inside("echo NoSuchKeyword yes >/ssh_conf/sshd_config.d/x.conf");
    let change = Patch::Merge(json!({"stringData": files}));
    namespace.secrets().patch("ssh", &PatchParams::default(), &change).await.unwrap();
    notebook.touch().await;
    notebook.logs(&["changed, but sshd keeps the old one"]).await;
    notebook.inside("rm /ssh_conf/sshd_config.d/x.conf");
    let served = async || identity.ssh(&alice, &notebook, HOST).err.contains("serial 1 ").then_some(());
    within(10, "the certificate is served", served).await;

    session.answers();
    assert_eq!(notebook.inside(SSHD), sshd, "sshd was started again");
    assert_eq!(notebook.restarts().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_session_outlives_sshd() {
    let namespace = Namespace::new("open").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;
    let mut session = Session::new(&alice, &notebook);
    let sshd = notebook.inside(SSHD);
    notebook.inside(&format!("kill -9 {sshd}"));
    let new = async || (alice.ssh(&notebook, &[SSHD]).out != sshd).then_some(());
    within(10, "another sshd", new).await;
    session.answers();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incomplete_image_says_so_now_and_then_and_jupyter_stays() {
    let namespace = Namespace::new("incomplete").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;
    let as_root = |script: &str| notebook.inside_as(&["0:0"], script).unwrap();
    as_root("mv /opt/fairlead/lib/say.bash /tmp/ && kill -9 $(cat /ssh_conf/sshd.pid)");
    let why = "/opt/fairlead/lib is not complete";
    notebook.logs(&[why]).await;
    let broken = Instant::now();
    while broken.elapsed() < Duration::from_secs(6) {
        assert!(notebook.answers());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let log = notebook.log().await;
    let (said, seconds) = (log.matches(why).count() as u64, broken.elapsed().as_secs());
    assert!(said >= 2 && said <= seconds / 2 + 2, "{said} times in {seconds} s:\n{log}");

    as_root("mv /tmp/say.bash /opt/fairlead/lib/");
    let gets_in = async || (alice.ssh(&notebook, &["true"]).code == Some(0)).then_some(());
    within(10, "sshd is back", gets_in).await;
    assert_eq!(notebook.restarts().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_keep_others_out() {
    let namespace = Namespace::new("startups").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;
    // Connections that never log in, as many as sshd takes; those that get no greeting were refused.
    let script = "import socket, time\nheld = []\nfor _ in range(200):\n    \
                  s = socket.create_connection(('127.0.0.1', 2209))\n    \
                try:\n        if s.recv(4) == b'SSH-': held.append(s)\n    except OSError: pass\n\
                open('/tmp/held', 'w').write(str(len(held)))\ntime.sleep(15)\n";
    notebook.inside(&format!(
        "cat >/tmp/hold.py <<'END'\n{script}END\nsetsid python3 /tmp/hold.py &>/tmp/hold.log </dev/null &"
    ));
    let held = async || Some(notebook.inside("cat /tmp/held || true")).filter(|held| !held.is_empty());
    let (held, _) = within(15, "all connections were tried", held).await;
    for _ in 0..3 {
        alice.ssh(&notebook, &["true"]).ok();
    }
    assert_eq!(held, "50");
    assert_eq!(notebook.inside("cat /tmp/hold.log"), "");
}

/// A session of cat, which answers as long as it lives.
struct Session {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _client: Connection,
}

impl Session {
    fn new(person: &Person, notebook: &Notebook) -> Self {
        let mut client = person.keeps_open(notebook, &[], &["cat"]);
        let (input, output) = (client.0.stdin.take().unwrap(), client.0.stdout.take().unwrap());
        let mut session = Self { input, output: BufReader::new(output), _client: client };
        session.answers();
        session
    }

    fn answers(&mut self) {
        writeln!(self.input, "still here").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        assert_eq!(line, "still here\n");
    }
}
