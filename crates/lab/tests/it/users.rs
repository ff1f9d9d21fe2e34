//! The uid that a notebook runs as: jovyan's, one the cluster chose, or root's.

use fairlead_lab::images;
use serde_json::json;

use crate::harness::Person;
use crate::notebook::{Namespace, Wish};
use crate::session::{gets_in_restricted, restricted};

#[tokio::test(flavor = "multi_thread")]
async fn alice_gets_in_as_jovyan_where_the_cluster_chooses_a_random_uid() {
    let namespace = Namespace::new("random-uid").await;
    let alice = Person::new("alice");
    let random = |image| {
        let mut wish = restricted();
        wish.image = image;
        wish.pod_security["runAsUser"] = json!(1_000_650_000);
        wish.pod_security["fsGroup"] = json!(1_000_650_000);
        wish
    };
    let notebook = gets_in_restricted(&namespace, &alice, "random", random(images::RANDOM_UID), "0").await;
    assert_eq!(alice.ssh(&notebook, &["id -u; id -un; echo ~"]).ok(), "1000650000\njovyan\n/home/jovyan\n");

    // An image without the build argument says what is missing, and Jupyter runs.
    let notebook = namespace.start("plain", random(images::NOTEBOOK)).await;
    notebook.logs(&["/etc/passwd is not writable", "RANDOM_UID=yes"]).await;
    alice.ssh(&notebook, &["true"]).refused("Connection refused");
    assert!(notebook.answers());

    // Where /etc/passwd is writable and setuid programs work, anybody in the container could become root.
    let mut open = random(images::RANDOM_UID);
    open.security = json!({"capabilities": {"drop": ["ALL"]}});
    let notebook = namespace.start("open", open).await;
    notebook.logs(&["anybody in it can become root", "allowPrivilegeEscalation: false"]).await;
    alice.ssh(&notebook, &["true"]).refused("Connection refused");
    assert_eq!(notebook.inside("id -u jovyan"), "1000\n");
    assert!(notebook.answers());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_container_runs_as_root_jovyan_stays_who_he_is_and_nobody_gets_in() {
    let namespace = Namespace::new("root").await;
    let alice = Person::new("alice");
    let wish = Wish { pod_security: json!({"runAsUser": 0}), ..Wish::default() };
    let notebook = namespace.start("ml", wish).await;
    notebook.logs(&["the container runs as root", "runAsUser: 1000"]).await;
    alice.ssh(&notebook, &["true"]).refused("Connection refused");
    assert_eq!(notebook.inside("id -u; id -u jovyan"), "0\n1000\n");
    assert!(notebook.answers());
    assert_eq!(notebook.restarts().await, 0);
}
