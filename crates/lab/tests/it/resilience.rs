//! What goes wrong in a notebook and must not stop it: an empty volume, a killed sshd, a bad configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use fairlead_lab::paths;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::harness::{Person, measured, within};
use crate::notebook::{Namespace, Wish};

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_volume_over_the_home_is_filled_and_alice_gets_in() {
    let namespace = Namespace::new("volume").await;
    let alice = Person::new("alice");
    // As many provisioners leave it: root's, and open to all. It goes with the cluster's state folder: a kubelet that
    // is still ending the Pod would make it again.
    let folder = paths::cluster().join("volumes").join(&namespace.name);
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    // The claim first: the controller then binds when it sees a volume for it, and else only every 15 s.
    let claim = json!({
        "metadata": {"name": "home"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let (params, claim) = (PostParams::default(), serde_json::from_value(claim).unwrap());
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(namespace.client.clone(), &namespace.name);
    let uid = claims.create(&params, &claim).await.unwrap().metadata.uid;
    let volume = json!({
        "metadata": {"name": namespace.name, "labels": {"test": namespace.name}},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": folder, "type": "DirectoryOrCreate"},
            "claimRef": {"namespace": namespace.name, "name": "home", "uid": uid},
        },
    });
    let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
    Api::all(namespace.client.clone()).create(&params, &volume).await.unwrap();
    // A Pod that comes earlier is looked at again only after ten seconds.
    let bound = async || claims.get("home").await.unwrap().status?.phase.filter(|phase| phase == "Bound");
    within(30, "the claim is bound", bound).await;

    let wish = || Wish {
        volumes: json!([{"name": "home", "persistentVolumeClaim": {"claimName": "home"}}]),
        mounts: json!([{"name": "home", "mountPath": "/home/jovyan"}]),
        ..Wish::default()
    };
    let first = namespace.notebook("first", &[&alice], wish()).await;
    assert!(first.answers());
    assert_eq!(alice.ssh(&first, &["stat -c '%u %a' ~"]).ok(), "0 777\n", "the volume is not what this test is about");
    let missing = "cd $HOME_TMP && find . -mindepth 1 | while read -r f; do [ -e ~/\"$f\" ] || echo \"$f\"; done";
    assert_eq!(alice.ssh(&first, &[missing]).ok(), "");
    assert!(alice.ssh(&first, &["ls -A ~"]).ok().contains(".bashrc"));
    alice.ssh(&first, &["echo mine >~/.bashrc && echo too >~/file"]).ok();

    // The next Pod on the same volume keeps what she wrote.
    let second = namespace.notebook("second", &[&alice], wish()).await;
    assert_eq!(alice.ssh(&second, &["cat ~/.bashrc ~/file 2>/dev/null"]).ok(), "mine\ntoo\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn sshd_is_back_after_a_kill_and_a_bad_configuration_while_jupyter_stays() {
    let namespace = Namespace::new("resilience").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;
    let kill = "kill -9 $(cat /ssh_conf/sshd.pid)";
    let gets_in = async || (alice.ssh(&notebook, &["true"]).code == Some(0)).then_some(());

    let first = alice.ssh(&notebook, &["cat /ssh_conf/sshd.pid"]).ok();
    let killed = Instant::now();
    // With the keys as a volume's fsGroup makes them; sshd takes no such key.
    notebook.inside(&format!("chmod 0660 /ssh_conf/ssh_host_*_key; {kill}"));
    let new = async || alice.ssh(&notebook, &["cat /ssh_conf/sshd.pid"]).out;
    within(10, "a new sshd lets alice in", async || Some(new().await).filter(|pid| !pid.is_empty() && *pid != first))
        .await;
    measured("sshd killed to next login", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(3), "{:?}", killed.elapsed());

    assert_eq!(notebook.inside("stat -c %a /ssh_conf/ssh_host_*_key"), "600\n600\n600\n");

    let break_it = "echo NoSuchKeyword yes >/ssh_conf/sshd_config.d/x.conf";
    notebook.inside(&format!("{break_it}; {kill}"));
    notebook.logs(&["sshd refuses its configuration", "x.conf", "NoSuchKeyword"]).await;
    // For longer than it takes to try again twice.
    let broken = Instant::now();
    while broken.elapsed() < Duration::from_secs(5) {
        alice.ssh(&notebook, &["true"]).refused("Connection refused");
        assert!(notebook.answers());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let said = notebook.log().await.matches("sshd refuses its configuration").count();
    assert_eq!(said, 1, "a cause that lasts is said once:\n{}", notebook.log().await);

    notebook.inside("rm /ssh_conf/sshd_config.d/x.conf");
    let ((), took) = within(10, "sshd is back", gets_in).await;
    measured("configuration mended to next login", took);
    assert!(notebook.answers());
    assert_eq!(notebook.restarts().await, 0);
}
