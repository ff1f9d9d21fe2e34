//! The container's environment in every kind of session, and nowhere that others can read.

use serde_json::{Value, json};

use crate::harness::{Person, Said};
use crate::notebook::{Namespace, Wish};

/// Values that break a careless writer of shell, sshd or s6 files.
const HARD: [(&str, &str); 11] = [
    ("HARD_SPACES", "  two  words "),
    ("HARD_DOUBLE", r#"say "hello" and ""#),
    ("HARD_SINGLE", "it's 'fine'"),
    ("HARD_DOLLAR", "$HOME ${PATH} `id` $(id) $$"),
    ("HARD_HASH", "# no comment #"),
    ("HARD_BACKSLASH", r#"C:\new\table\\ \" \"#),
    ("HARD_EMPTY", ""),
    ("HARD_GLOB", "* ? [a-z] ~ {a,b} ; & | < > ! %h %u %%"),
    ("HARD_EQUALS", "a=b HARD_EMPTY=c"),
    ("HARD_UNICODE", "Käse 笔记本\t."),
    ("HARD_MARKER", r#"fairlead-marker-7d1f "quoted" \ $x"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_session_has_the_containers_environment() {
    let namespace = Namespace::new("environment").await;
    let alice = Person::new("alice");
    // In a Pod `$(NAME)` refers to another variable, and `$$` is one dollar.
    let variable = |(name, value): (&str, &str)| json!({"name": name, "value": value.replace('$', "$$")});
    let mut env: Vec<Value> = HARD.map(variable).into();
    env.push(json!({"name": "LINES_TWO", "value": "first\nsecond 'line'"}));
    let wish = Wish { env: env.into(), ..Wish::default() };
    let notebook = namespace.notebook("ml", &[&alice], wish).await;
    let prefix = notebook.prefix.as_str();

    // The spelling above is right: this is what the container itself has.
    let container = notebook.inside("env -0");
    has(&container, "the container", prefix);

    let script = "env -0\n";
    for (session, said) in [
        ("ssh host program", alice.ssh(&notebook, &["env", "-0"])),
        ("ssh host 'shell; command'", alice.ssh(&notebook, &["true; env -0"])),
        ("ssh host 'bash -lc command'", alice.ssh(&notebook, &["bash -lc 'env -0'"])),
        ("ssh host bash -l, script on stdin", alice.pipes(&notebook, &[], &["bash", "-l"], script)),
        ("ssh host sh, script on stdin", alice.pipes(&notebook, &["-T"], &["sh"], script)),
        ("ssh host, a login shell, script on stdin", alice.pipes(&notebook, &["-T"], &[], script)),
        ("ssh -tt host program", alice.ssh_with(&notebook, &["-tt"], &["env", "-0"])),
    ] {
        let Said { code: Some(0), out, .. } = said else { panic!("{session}: {said:?}") };
        has(&out, session, prefix);
        assert!(out.split('\0').any(|pair| pair == "USER=jovyan"), "{session}: {out:?}");
        assert!(out.split('\0').any(|pair| pair == "HOME=/home/jovyan"), "{session}: {out:?}");
    }
    let login = alice.pipes(&notebook, &["-T"], &[], script).ok();
    assert!(login.contains("LINES_TWO=first\nsecond 'line'\0"), "{login:?}");
    notebook.logs(&["only login shells get values with line breaks: LINES_TWO"]).await;

    assert_eq!(alice.ssh(&notebook, &["conda"]).code, Some(0), "a program in conda's folder");

    // Nobody else reads a value: no file, and no command line. The search itself has the value in neither.
    let search = "value() { echo \"${HARD_MARKER%% *}\"; }; \
                  grep -rlsF -f <(value) --exclude-dir=proc --exclude-dir=sys --exclude-dir=dev / || true; \
                  grep -lsF -f <(value) /proc/[0-9]*/cmdline || true";
    assert!(notebook.inside(search).contains("/ssh_conf/sshd_config"), "nothing found even where a value is");
    let others = ["12345:12345", "12345:0", "12345:100"];
    let found = || others.map(|user| notebook.inside_as(&[user], search).unwrap());
    assert_eq!(found(), ["", "", ""]);
    alice.ssh(&notebook, &["echo \"$HARD_MARKER\" >/tmp/leak; chmod 644 /tmp/leak"]).ok();
    assert_eq!(found(), ["/tmp/leak\n"; 3], "a leak is not found");
    let log = notebook.log().await;
    assert!(!log.contains("fairlead-marker"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_is_too_large_for_sshd_still_lets_alice_in() {
    let namespace = Namespace::new("large").await;
    let alice = Person::new("alice");
    let link = |number| json!({"name": format!("NEIGHBOUR_{number}_SERVICE_HOST"), "value": "10.96.0.7"});
    let mut env: Vec<Value> = (0..1400).map(link).collect();
    let large = |name| json!({"name": name, "value": "x".repeat(100_000)});
    env.extend(["LARGE_A", "LARGE_B"].map(large));
    let wish = Wish { env: env.into(), ..Wish::default() };
    let notebook = namespace.notebook("ml", &[&alice], wish).await;
    notebook.logs(&["variables, too many for sshd", "1400 that describe Services"]).await;
    notebook.logs(&["the environment is too large for sshd; only login shells get: LARGE_"]).await;

    // Neighbours, values of this size, and NB_PREFIX.
    let count = |said: Said| {
        let out = said.ok();
        let pairs = || out.split('\0').filter_map(|pair| pair.split_once('='));
        let named = |part: &str| pairs().filter(|(name, _)| name.contains(part)).count();
        (named("NEIGHBOUR_"), pairs().filter(|(_, value)| value.len() == 100_000).count(), named("NB_PREFIX"))
    };
    assert_eq!(count(alice.ssh(&notebook, &["env", "-0"])), (0, 1, 1));
    assert_eq!(count(alice.ssh(&notebook, &["bash -lc 'env -0'"])), (1400, 2, 1));
}

fn has(environment: &str, session: &str, prefix: &str) {
    let value = |name: &str| {
        let mut pairs = environment.split('\0').filter_map(|pair| pair.trim_start_matches('\n').split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value)
    };
    assert_eq!(value("NB_PREFIX"), Some(prefix), "{session}: {environment:?}");
    assert_eq!(value("KUBERNETES_SERVICE_HOST"), Some("10.96.0.1"), "{session}");
    let path = value("PATH").unwrap_or_default();
    assert!(path.split(':').any(|folder| folder == "/opt/conda/bin"), "{session}: PATH={path}");
    for (name, expected) in HARD {
        assert_eq!(value(name), Some(expected), "{session}: {name}");
    }
}
