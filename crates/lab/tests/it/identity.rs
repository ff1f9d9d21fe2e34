//! Who a notebook is and who may enter, from a mounted Secret: what Fairlead's operator will write, by hand.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::fs;
use std::time::{Duration, Instant};

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Person, Said, make_key, measured, run, within};
use crate::notebook::{Namespace, Notebook, Wish};

/// The name in the notebook's certificate.
pub(crate) const HOST: &str = "ml.alice.notebook";

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_alone_says_who_the_notebook_is_and_who_gets_in() {
    let namespace = Namespace::new("identity").await;
    let (alice, bob) = (Person::new("alice"), Person::new("bob"));
    let notebook = namespace.start("ml", with_secret()).await;

    // No Secret yet: nobody, whatever lies where keys are without a Secret.
    notebook.logs(&["waiting for the host key /var/run/secrets/fairlead/ssh_host_ed25519_key"]).await;
    notebook.inside(&format!("echo '{}' >>/ssh_conf/authorized_keys", alice.public_key().trim()));
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_secs(2) {
        alice.ssh(&notebook, &["true"]).refused("Connection refused");
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    let identity = Identity::new();
    let keys = alice.public_key();
    namespace.keeps(&identity.files(&keys, 1)).await;
    notebook.touch().await;
    let let_in = async || gets_in(&identity, &alice, &notebook).then_some(());
    let ((), took) = within(15, "alice gets in by the new Secret", let_in).await;
    measured("Secret created to first login", took);
    identity.ssh(&bob, &notebook, HOST).refused("Permission denied (publickey).");
    notebook.logs(&["Failed publickey for jovyan", &bob.fingerprint()]).await;

    // Who touches may do no more.
    let patch = Patch::Merge(json!({"metadata": {"labels": {"a": "b"}}}));
    let forbidden = [
        notebook.toucher.patch(&notebook.name, &PatchParams::default(), &patch).await.unwrap_err(),
        notebook.toucher.get(&notebook.name).await.unwrap_err(),
    ];
    assert!(forbidden.iter().all(|error| error.to_string().contains("cannot")), "{forbidden:?}");

    // Another key takes her place.
    let change = json!({"stringData": {"authorized_keys": bob.public_key()}});
    let ((), took) = changed(&namespace, &notebook, &change, async || {
        (gets_in(&identity, &bob, &notebook) && !gets_in(&identity, &alice, &notebook)).then_some(())
    })
    .await;
    measured("keys changed to new one in and old one out", took);
    assert!(took < Duration::from_secs(3), "{took:?}");
    identity.ssh(&alice, &notebook, HOST).refused("Permission denied (publickey).");
    notebook.logs(&["Failed publickey for jovyan", &alice.fingerprint()]).await;

    // A deleted Secret lets nobody in, and revives no other keys.
    namespace.secrets().delete("ssh", &DeleteParams::default()).await.unwrap();
    notebook.touch().await;
    let out = async || (identity.ssh(&bob, &notebook, HOST).code == Some(255)).then_some(());
    let ((), took) = within(10, "nobody gets in when the Secret is gone", out).await;
    measured("Secret deleted to nobody gets in", took);
    notebook.logs(&["the host key /var/run/secrets/fairlead/ssh_host_ed25519_key is gone"]).await;
    identity.ssh(&alice, &notebook, HOST).refused("Connection refused");
    assert!(notebook.answers());
    assert_eq!(notebook.restarts().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn alice_trusts_a_notebook_by_its_certificate_alone() {
    let namespace = Namespace::new("certificate").await;
    let alice = Person::new("alice");
    let identity = Identity::new();
    let keys = alice.public_key();
    namespace.keeps(&identity.files(&keys, 1)).await;
    let notebook = namespace.start("ml", with_secret()).await;
    notebook.listens().await;

    // These refusals are the client's own: sshd only sees that somebody left.
    let trusted = identity.ssh(&alice, &notebook, HOST);
    assert!(trusted.code == Some(0) && trusted.err.contains("serial 1 "), "{trusted:?}");
    let other = identity.ssh(&alice, &notebook, "other.alice.notebook");
    other.refused("Host key verification failed");
    assert!(other.err.contains("Certificate invalid: name is not a listed principal"), "{other:?}");
    let impostor = Identity::new().ssh(&alice, &notebook, HOST);
    impostor.refused("Host key verification failed");
    assert!(impostor.err.contains("No ED25519 host key is known for ml.alice.notebook"), "{impostor:?}");

    let server = notebook.inside("cat /ssh_conf/sshd.pid");
    let change = json!({"stringData": identity.files(&keys, 2)});
    let ((), took) = changed(&namespace, &notebook, &change, async || {
        let said = identity.ssh(&alice, &notebook, HOST);
        assert_eq!(said.code, Some(0), "a login failed during the renewal: {said:?}");
        said.err.contains("serial 2 ").then_some(())
    })
    .await;
    measured("certificate renewed to served", took);
    assert_eq!(notebook.inside("cat /ssh_conf/sshd.pid"), server, "sshd was started again");
    notebook.logs(&["the host key or its certificate changed: reloading sshd"]).await;
    assert_eq!(notebook.restarts().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_settings_lets_nobody_in_beside_the_secret() {
    let namespace = Namespace::new("settings").await;
    let (alice, bob) = (Person::new("alice"), Person::new("bob"));
    let identity = Identity::new();
    namespace.keeps(&identity.files(&alice.public_key(), 1)).await;
    let notebook = namespace.start("ml", with_secret()).await;
    notebook.listens().await;

    let key = bob.public_key();
    let settings = "ClientAliveInterval 7\nAuthorizedKeysFile /ssh_conf/authorized_keys\n\
                    AuthorizedKeysCommand /usr/bin/cat /ssh_conf/authorized_keys\n\
                    AuthorizedKeysCommandUser jovyan\nTrustedUserCAKeys /ssh_conf/authorized_keys";
    let write = format!("echo '{}' >/ssh_conf/authorized_keys", key.trim());
    let file = format!("cat >/ssh_conf/sshd_config.d/x.conf <<'END'\n{settings}\nEND");
    notebook.inside(&format!("{write}\n{file}\nkill -9 $(cat /ssh_conf/sshd.pid)"));
    let let_in = async || gets_in(&identity, &alice, &notebook).then_some(());
    within(10, "alice gets in with the new settings", let_in).await;
    let effective = notebook.inside("/usr/sbin/sshd -T -f /ssh_conf/sshd_config");
    assert!(effective.contains("clientaliveinterval 7\n"), "the file is not read: {effective}");
    identity.ssh(&bob, &notebook, HOST).refused("Permission denied (publickey).");
}

/// A notebook's host key and the authority that signs it.
pub(crate) struct Identity(TempDir);

impl Identity {
    pub(crate) fn new() -> Self {
        let dir = TempDir::new().unwrap();
        make_key(&dir.path().join("ca"), "authority");
        make_key(&dir.path().join("host"), "host");
        Self(dir)
    }

    /// The Secret's content, with a fresh certificate of this serial number.
    pub(crate) fn files(&self, keys: &str, serial: u32) -> Value {
        let (serial, path) = (serial.to_string(), |name| self.0.path().join(name));
        let mut sign = std::process::Command::new("ssh-keygen");
        sign.args(["-q", "-h", "-I", "ml", "-n", HOST, "-V", "-5m:+1d", "-z", &serial, "-s"]);
        run(sign.arg(path("ca")).arg(path("host.pub"))).ok();
        let text = |name| fs::read_to_string(path(name)).unwrap();
        json!({
            "authorized_keys": keys,
            "ssh_host_ed25519_key": text("host"),
            "ssh_host_ed25519_key-cert.pub": text("host-cert.pub"),
        })
    }

    /// Logs in to what must be `host` by the word of this authority.
    pub(crate) fn ssh(&self, person: &Person, notebook: &Notebook, host: &str) -> Said {
        let authority = fs::read_to_string(self.0.path().join("ca.pub")).unwrap();
        let known = person.writes("authorities", &format!("@cert-authority *.alice.notebook {authority}"));
        let known = format!("-oUserKnownHostsFile={}", known.display());
        let alias = format!("-oHostKeyAlias={host}");
        person.ssh_with(notebook, &["-v", "-oStrictHostKeyChecking=yes", &known, &alias], &["true"])
    }
}

fn gets_in(identity: &Identity, person: &Person, notebook: &Notebook) -> bool {
    identity.ssh(person, notebook, HOST).code == Some(0)
}

/// Changes the Secret, touches the Pod, and waits for what should follow. Returns the time since the change.
async fn changed(
    namespace: &Namespace,
    notebook: &Notebook,
    change: &Value,
    seen: impl AsyncFnMut() -> Option<()>,
) -> ((), Duration) {
    let began = Instant::now();
    namespace.secrets().patch("ssh", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    notebook.touch().await;
    within(10, "the changed Secret counts", seen).await;
    ((), began.elapsed())
}

pub(crate) fn with_secret() -> Wish {
    let secret = json!({"secretName": "ssh", "optional": true, "defaultMode": 0o444});
    Wish {
        volumes: json!([{"name": "ssh", "secret": secret}]),
        mounts: json!([{"name": "ssh", "mountPath": "/var/run/secrets/fairlead", "readOnly": true}]),
        ..Wish::default()
    }
}
