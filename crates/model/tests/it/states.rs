//! How a notebook stands, by what is there and what was found.

use fairlead_model::access::{self, State};
use fairlead_model::{Fact, Trouble};
use serde_json::{Value, json};

use crate::cluster::{Cluster, id, namespace, notebook, person, pod, stateful_set};

/// What it is called, what is changed, and how the notebook stands then.
type Case = (&'static str, fn(&mut Cluster) -> &mut Cluster, State);

/// The Pod of `team-a/ml` as Kubeflow and Fairlead make it.
fn mounted() -> Value {
    let mut pod = pod("team-a", "ml-0", "set-team-a-ml", "10.1.0.1");
    pod["spec"] = json!({"volumes": [{"name": "fairlead-ssh", "secret": {"secretName": "fairlead-ml"}}],
        "containers": [{"name": "ml", "volumeMounts": [{"name": "fairlead-ssh",
            "mountPath": "/var/run/secrets/fairlead"}]}]});
    pod
}

/// The same with something else in it.
fn with(change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = mounted();
    change(&mut pod);
    pod
}

fn found<'a>(cluster: &'a mut Cluster, troubles: &[Trouble]) -> &'a mut Cluster {
    cluster.world.apply(Fact::Troubles([(id("team-a", "ml"), troubles.iter().copied().collect())].into()));
    cluster
}

const CASES: &[Case] = &[
    ("as it should be", |c| c, State::Running),
    ("switched off on the notebook", |c| c.see(&off()), State::Off),
    ("switched off by an admin of Fairlead", |c| c.switched_off(&["team-a"]), State::Off),
    ("switched off on the namespace", |c| c.see(&closed()), State::Off),
    ("off and stopped", |c| c.see(&stopped()).see(&closed()), State::Off),
    ("stopped", |c| c.see(&stopped()), State::Stopped),
    ("no such notebook", |c| c.lose(&notebook("team-a", "ml", &json!({}))), State::Stopped),
    ("no StatefulSet", |c| c.lose(&stateful_set("team-a", "ml")), State::Starting),
    ("no Pod", |c| c.lose(&mounted()), State::Starting),
    ("no address", |c| c.see(&with(|p| p["status"]["podIP"] = json!(null))), State::Starting),
    ("pending", |c| c.see(&with(|p| p["status"]["phase"] = json!("Pending"))), State::Starting),
    ("not ready", |c| c.see(&with(|p| p["status"]["conditions"] = json!([]))), State::Starting),
    ("ready as a whole", |c| c.see(&with(|p| p["status"]["conditions"] = ready())), State::Running),
    (
        "ending",
        |c| c.see(&with(|p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"))),
        State::Starting,
    ),
    ("two Pods", |c| c.see(&pod("team-a", "twin", "set-team-a-ml", "10.1.0.2")), State::Ambiguous),
    ("loopback", |c| c.see(&with(|p| p["status"]["podIP"] = json!("127.0.0.1"))), State::BadAddress),
    ("made before Fairlead", |c| c.see(&with(|p| p["spec"]["volumes"] = json!([]))), State::NeedsRestart),
    (
        "another's Secret",
        |c| c.see(&with(|p| p["spec"]["volumes"][0]["secret"]["secretName"] = json!("x"))),
        State::NeedsRestart,
    ),
    (
        "mounted elsewhere",
        |c| c.see(&with(|p| p["spec"]["containers"][0]["name"] = json!("other"))),
        State::NeedsRestart,
    ),
    ("no sshd", |c| found(c, &[Trouble::NoSshd]), State::NoSshd),
    ("a Secret that is taken", |c| found(c, &[Trouble::SecretTaken]), State::SecretProblem),
    ("a Secret of another", |c| found(c, &[Trouble::SecretLeftover]), State::SecretProblem),
    ("a frozen Secret, and so no sshd", |c| found(c, &[Trouble::NoSshd, Trouble::SecretFrozen]), State::SecretProblem),
    ("what the objects no longer show", |c| found(c, &[Trouble::NeedsRestart, Trouble::Ambiguous]), State::Running),
];

fn off() -> Value {
    notebook("team-a", "ml", &json!({"fairlead.dev/ssh": "disabled"}))
}

fn stopped() -> Value {
    notebook("team-a", "ml", &json!({"kubeflow-resource-stopped": "x"}))
}

fn closed() -> Value {
    namespace("team-a", "alice", &json!({"fairlead.dev/ssh": "disabled"}))
}

fn ready() -> Value {
    json!([{"type": "ContainersReady", "status": "False"}, {"type": "Ready", "status": "True"}])
}

#[test]
fn each_state_says_what_there_is_and_what_was_found() {
    for (what, change, expected) in CASES {
        let mut cluster = Cluster::default();
        cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1").see(&mounted());
        change(&mut cluster);
        let target = id("team-a", "ml");
        let state = access::state(&cluster.world, &target);
        assert_eq!(state, *expected, "{what}");
        // Whoever is refused sees no `running`.
        let refused = access::decide(&cluster.world, &person("alice"), &target).is_err();
        assert!(!(refused && state == State::Running), "{what}");
    }
}

#[test]
fn each_state_has_a_case_and_a_word_of_its_own_and_ascii_to_tell() {
    let words: std::collections::BTreeSet<&str> = State::ALL.into_iter().map(State::word).collect();
    assert_eq!(words.len(), State::ALL.len());
    for state in State::ALL {
        assert!(CASES.iter().any(|(_, _, expected)| *expected == state), "{state:?}");
        assert_eq!(serde_json::to_value(state).unwrap(), state.word());
        assert!(state.told().is_none_or(str::is_ascii), "{state:?}");
    }
}
