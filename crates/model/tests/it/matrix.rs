//! Who × notebook, as one table to read, and each refusal beside somebody who gets in.

use std::fmt::Write as _;

use fairlead_model::access::{self, Denied};
use serde_json::{Value, json};

use crate::cluster::{Cluster, binding, id, namespace, notebook, person, pod, profile, stateful_set};

/// What it is called, and how it changes a good object.
type Forgery = (&'static str, fn(&mut Value));

/// Two profiles, and everything a notebook can be.
fn cluster() -> Cluster {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice").profile("team-b", "erin").profile("closed", "alice");
    cluster.see(&namespace("closed", "alice", &json!({"fairlead.dev/ssh": "disabled"})));
    for (who, role) in [("ann", "admin"), ("bob", "edit"), ("carol", "view")] {
        cluster.see(&binding("team-a", who, role));
    }
    cluster.see(&binding("closed", "bob", "edit"));
    cluster.profile("switched", "alice").see(&binding("switched", "bob", "edit"));
    cluster.see(&binding("switched", "carol", "view")).switched_off(&["switched"]);
    for (space, name) in [("team-a", "running"), ("team-b", "running"), ("closed", "running"), ("switched", "running")]
    {
        cluster.notebook(space, name, "10.1.0.1");
    }
    cluster.notebook("team-a", "stopped", "10.1.0.2");
    cluster.see(&notebook("team-a", "stopped", &json!({"kubeflow-resource-stopped": ""})));
    cluster.see(&notebook("team-a", "starting", &json!({}))).see(&stateful_set("team-a", "starting"));
    cluster.notebook("team-a", "off", "10.1.0.3");
    cluster.see(&notebook("team-a", "off", &json!({"fairlead.dev/ssh": "disabled"})));
    cluster.notebook("team-a", "twins", "10.1.0.4");
    cluster.see(&pod("team-a", "twin", "set-team-a-twins", "10.1.0.5"));
    cluster.notebook("team-a", "loopback", "127.0.0.1");
    cluster
}

pub(crate) fn word(cluster: &Cluster, who: &str, space: &str, name: &str) -> &'static str {
    match access::decide(&cluster.world, &person(who), &id(space, name)) {
        Ok(grant) => grant.role().word(),
        Err(denied) => denied.word(),
    }
}

#[test]
fn who_reaches_which_notebook() {
    let cluster = cluster();
    let people = ["alice", "ann", "bob", "carol", "dave", "erin"];
    let mut table = format!("{:<17}", "");
    for who in people {
        let _ = write!(table, " {who:<17}");
    }
    let mut targets: Vec<_> =
        ["running", "stopped", "starting", "off", "twins", "loopback", "none"].map(|name| ("team-a", name)).into();
    targets.extend([("team-b", "running"), ("closed", "running"), ("switched", "running"), ("nowhere", "running")]);
    for (space, name) in targets {
        let _ = write!(table, "\n{:<17}", format!("{space}/{name}"));
        for who in people {
            let _ = write!(table, " {:<17}", word(&cluster, who, space, name));
        }
    }
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn what_people_are_told_is_ascii_and_strangers_are_told_one_thing() {
    let all = [
        Denied::Stranger,
        Denied::Viewer,
        Denied::NoNotebook,
        Denied::DisabledByAdmin,
        Denied::DisabledByUser,
        Denied::Stopped,
        Denied::Starting,
        Denied::Ambiguous,
        Denied::BadAddress,
    ];
    for denied in all {
        assert!(denied.told().is_ascii(), "{denied:?}");
    }
    let cluster = cluster();
    for (space, name) in [("team-a", "running"), ("team-a", "stopped"), ("team-a", "none"), ("nowhere", "x")] {
        assert_eq!(word(&cluster, "dave", space, name), "stranger", "{space}/{name}");
    }
}

#[test]
fn a_changed_binding_lets_nobody_in_by_it() {
    let forged: [Forgery; 12] = [
        ("two subjects", |b| {
            let more = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve@example.com"});
            b["subjects"].as_array_mut().unwrap().push(more);
        }),
        ("no subject", |b| b["subjects"] = json!([])),
        ("another subject", |b| b["subjects"][0]["name"] = json!("eve@example.com")),
        ("another case", |b| b["subjects"][0]["name"] = json!("Bob@example.com")),
        ("a ServiceAccount", |b| b["subjects"][0]["kind"] = json!("ServiceAccount")),
        ("a Group", |b| b["subjects"][0]["kind"] = json!("Group")),
        ("another role", |b| b["roleRef"]["name"] = json!("kubeflow-view")),
        ("a Role, not a ClusterRole", |b| b["roleRef"]["kind"] = json!("Role")),
        ("an unknown role", |b| {
            b["roleRef"]["name"] = json!("kubeflow-root");
            b["metadata"]["annotations"]["role"] = json!("root");
        }),
        ("no user", |b| b["metadata"]["annotations"] = json!({"role": "edit"})),
        ("no role", |b| b["metadata"]["annotations"] = json!({"user": "bob@example.com"})),
        ("another namespace", |b| b["metadata"]["namespace"] = json!("team-b")),
    ];
    for (what, forge) in forged {
        let mut cluster = Cluster::default();
        cluster.profile("team-a", "alice").profile("team-b", "erin").notebook("team-a", "ml", "10.1.0.1");
        let mut changed = binding("team-a", "bob", "edit");
        forge(&mut changed);
        cluster.see(&changed);
        for who in ["bob", "Bob", "eve"] {
            assert_eq!(word(&cluster, who, "team-a", "ml"), "stranger", "{what}: {who}");
        }
        cluster.see(&binding("team-a", "bob", "edit"));
        assert_eq!(word(&cluster, "bob", "team-a", "ml"), "edit", "{what}");
    }
}

#[test]
fn bindings_whose_names_collide_are_two_people() {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1");
    // Kubeflow writes `a.b@` and `a-b@` under one name: the later replaces the earlier, and only it counts.
    let mut one = binding("team-a", "a.b", "edit");
    one["metadata"]["name"] = json!("user-a-b-example-com-clusterrole-edit");
    let mut two = binding("team-a", "a-b", "edit");
    two["metadata"]["name"] = one["metadata"]["name"].clone();
    cluster.see(&one);
    assert_eq!((word(&cluster, "a.b", "team-a", "ml"), word(&cluster, "a-b", "team-a", "ml")), ("edit", "stranger"));
    cluster.see(&two);
    assert_eq!((word(&cluster, "a.b", "team-a", "ml"), word(&cluster, "a-b", "team-a", "ml")), ("stranger", "edit"));
}

#[test]
fn an_owner_counts_where_profile_and_namespace_agree() {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1");
    assert_eq!(word(&cluster, "alice", "team-a", "ml"), "owner");
    cluster.see(&namespace("team-a", "eve", &json!({})));
    assert_eq!(
        (word(&cluster, "alice", "team-a", "ml"), word(&cluster, "eve", "team-a", "ml")),
        ("stranger", "stranger")
    );
    // Kubeflow's own binding for the owner says no more than the Profile does.
    let mut admin = binding("team-a", "eve", "admin");
    admin["metadata"]["name"] = json!("namespaceAdmin");
    assert_eq!(word(cluster.see(&admin), "eve", "team-a", "ml"), "stranger");
    cluster.see(&namespace("team-a", "alice", &json!({})));
    assert_eq!(word(&cluster, "alice", "team-a", "ml"), "owner");
    let mut service_account = profile("team-a", "alice");
    service_account["spec"]["owner"]["kind"] = json!("ServiceAccount");
    assert_eq!(word(cluster.see(&service_account), "alice", "team-a", "ml"), "stranger");
    assert_eq!(word(cluster.lose(&profile("team-a", "alice")), "alice", "team-a", "ml"), "stranger");
}

#[test]
fn a_forged_pod_is_not_the_notebook() {
    let forged: [Forgery; 9] = [
        ("no owner", |p| p["metadata"]["ownerReferences"] = json!([])),
        ("an owner that controls nothing", |p| p["metadata"]["ownerReferences"][0]["controller"] = json!(false)),
        ("another StatefulSet", |p| p["metadata"]["ownerReferences"][0]["uid"] = json!("set-team-a-other")),
        ("another profile's StatefulSet", |p| p["metadata"]["ownerReferences"][0]["uid"] = json!("set-team-b-ml")),
        ("another kind", |p| p["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet")),
        ("another group", |p| p["metadata"]["ownerReferences"][0]["apiVersion"] = json!("evil.dev/v1")),
        ("the host's network", |p| p["spec"]["hostNetwork"] = json!(true)),
        ("ended", |p| p["status"]["phase"] = json!("Failed")),
        ("ending", |p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")),
    ];
    for (what, forge) in forged {
        let mut cluster = Cluster::default();
        cluster.profile("team-a", "alice").profile("team-b", "erin").notebook("team-b", "ml", "10.1.0.9");
        cluster.see(&notebook("team-a", "ml", &json!({}))).see(&stateful_set("team-a", "ml"));
        let true_pod = pod("team-a", "ml-0", "set-team-a-ml", "10.1.0.1");
        let mut changed = true_pod.clone();
        changed["metadata"]["name"] = json!("forged");
        forge(&mut changed);
        cluster.see(&changed);
        assert_eq!(word(&cluster, "alice", "team-a", "ml"), "starting", "{what}");
        cluster.see(&true_pod);
        let grant = access::decide(&cluster.world, &person("alice"), &id("team-a", "ml")).unwrap();
        assert_eq!(grant.address().to_string(), "10.1.0.1:2209", "{what}");
    }
}

#[test]
fn addresses_that_are_no_pods_own_are_not_dialled() {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice");
    cluster.see(&json!({"kind": "Node", "metadata": {"name": "n"},
        "status": {"addresses": [{"type": "InternalIP", "address": "10.9.0.1"}]}}));
    cluster.see(&json!({"kind": "Service", "metadata": {"name": "s", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]}}));
    for ip in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.1.0.1",
        "10.9.0.1",
        "10.96.0.1",
    ] {
        cluster.notebook("team-a", "ml", ip);
        assert_eq!(word(&cluster, "alice", "team-a", "ml"), "bad-address", "{ip}");
    }
    // A Pod whose address is its host's, an address that is none.
    for ip in ["192.168.0.1", "localhost", "10.1.0.1:22", ""] {
        cluster.notebook("team-a", "ml", ip);
        assert_eq!(word(&cluster, "alice", "team-a", "ml"), "starting", "{ip}");
    }
    for ip in ["10.1.0.1", "fd00::1"] {
        cluster.notebook("team-a", "ml", ip);
        assert_eq!(word(&cluster, "alice", "team-a", "ml"), "owner", "{ip}");
    }
}

#[test]
fn who_opens_shells_starts_and_stops_whether_or_not_ssh_is_on() {
    let cluster = cluster();
    let may = |who: &str, space: &str, name: &str| {
        access::may_operate(&cluster.world, &person(who), &id(space, name)).map_err(Denied::word)
    };
    for name in ["running", "stopped", "starting", "off", "twins", "loopback"] {
        for who in ["alice", "ann", "bob"] {
            assert_eq!(may(who, "team-a", name), Ok(()), "{who}: {name}");
        }
        assert_eq!(may("carol", "team-a", name), Err("viewer"), "{name}");
        assert_eq!((may("dave", "team-a", name), may("erin", "team-a", name)), (Err("stranger"), Err("stranger")));
    }
    assert_eq!((may("bob", "closed", "running"), may("bob", "switched", "running")), (Ok(()), Ok(())));
    for (who, expected) in [("alice", "no-notebook"), ("carol", "viewer"), ("dave", "stranger")] {
        assert_eq!(may(who, "team-a", "none"), Err(expected), "{who}");
    }
}
