//! What people do in a notebook by ssh, and whom it turns away.

use std::fs;

use serde_json::json;

use crate::harness::Person;
use crate::notebook::{Namespace, Notebook, Wish};

#[tokio::test(flavor = "multi_thread")]
async fn alice_works_in_her_notebook_with_ssh_scp_sftp_rsync_and_git() {
    let namespace = Namespace::new("session").await;
    let alice = Person::new("alice");
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;

    let terminal = alice.ssh_with(&notebook, &["-tt"], &["tty && test -t 0 && test -t 1 && id -un"]).ok();
    assert!(terminal.contains("/dev/pts/") && terminal.contains("jovyan"), "{terminal}");
    let logged_in = alice.pipes(&notebook, &["-tt"], &[], "shopt -q login_shell && tty && exit 5\n");
    assert_eq!(logged_in.code, Some(5), "{logged_in:?}");
    let no_terminal = alice.ssh(&notebook, &["tty"]);
    assert_eq!((no_terminal.code, no_terminal.out.trim()), (Some(1), "not a tty"));

    for (command, code) in [("true", 0), ("exit 7", 7), ("no-such-program", 127), ("kill -9 $$", 255)] {
        let said = alice.ssh(&notebook, &[command]);
        assert_eq!(said.code, Some(code), "{command}: {said:?}");
    }
    let both = alice.ssh(&notebook, &["echo out; echo err >&2"]);
    assert_eq!((both.out.as_str(), both.err.lines().last()), ("out\n", Some("err")));
    assert_eq!(alice.pipes(&notebook, &[], &["cat"], "through and back").ok(), "through and back");
    // As the container's first process has it, not the closed one that sshd's service works with; and Ctrl-C works.
    let umask = notebook.inside("grep Umask /proc/1/status");
    assert_eq!(alice.ssh(&notebook, &["grep Umask /proc/self/status"]).ok(), umask);
    // SIGINT and SIGQUIT are bits of the last digit.
    let ignored = alice.ssh(&notebook, &["grep SigIgn /proc/self/status"]).ok();
    assert!(ignored.ends_with("0\n"), "{ignored}");

    let text = "some text\n".repeat(20_000);
    let sent = alice.writes("sent", &text).display().to_string();
    let back = alice.path("back");
    let came_back = |how: &str| {
        assert!(fs::read_to_string(&back).is_ok_and(|back| back == text), "{how}");
        fs::remove_file(&back).unwrap();
    };
    let home = format!("{}:", notebook.address);
    for protocol in ["-O", "-s"] {
        let remote = format!("{home}by-scp{protocol}");
        alice.runs("scp", &[protocol, &sent, &remote]).ok();
        alice.runs("scp", &[protocol, &remote, &back.display().to_string()]).ok();
        came_back(&format!("scp {protocol}"));
    }

    let batch = format!("put {sent} by-sftp\nrename by-sftp moved\nget moved {}\nrm moved\n", back.display());
    let batch = alice.writes("batch", &batch).display().to_string();
    alice.runs("sftp", &["-b", &batch, &notebook.address]).ok();
    came_back("sftp");

    alice.runs("rsync", &["-az", &sent, &format!("{home}folder/")]).ok();
    alice.runs("rsync", &["-az", &format!("{home}folder/sent"), &back.display().to_string()]).ok();
    came_back("rsync");

    let make = "git init -q repo && cd repo && echo hello >file && git add file && \
                git -c user.name=a -c user.email=a@b commit -qm first";
    alice.ssh(&notebook, &[make]).ok();
    let clone = alice.path("clone").display().to_string();
    alice.runs("git", &["clone", "-q", &format!("ssh://{}/home/jovyan/repo", notebook.address), &clone]).ok();
    assert_eq!(fs::read_to_string(alice.path("clone/file")).unwrap(), "hello\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_passwords_and_other_users_are_refused_where_alice_gets_in() {
    let namespace = Namespace::new("refused").await;
    let (alice, mallory) = (Person::new("alice"), Person::new("mallory"));
    let notebook = namespace.notebook("ml", &[&alice], Wish::default()).await;
    let no = "Permission denied (publickey).";

    // The server must not even ask: then no guess can be right.
    let password = ["-oPreferredAuthentications=password,keyboard-interactive", "-oPubkeyAuthentication=no", "-v"];
    let said = alice.ssh_with(&notebook, &[&password[..], &["-oBatchMode=no"]].concat(), &["true"]);
    said.refused(no);
    assert!(said.err.contains("Authentications that can continue: publickey\r"), "{said:?}");
    notebook.logs(&["Connection closed by authenticating user jovyan 10.244.0.254", "[preauth]"]).await;

    mallory.ssh(&notebook, &["true"]).refused(no);
    notebook.logs(&["Failed publickey for jovyan", &mallory.fingerprint()]).await;

    // Her own good key, another name: one that exists with rights, one that exists, one that does not.
    for (user, reason) in [
        ("root", "User root from 10.244.0.254 not allowed because not listed in AllowUsers"),
        ("nobody", "User nobody from 10.244.0.254 not allowed because not listed in AllowUsers"),
        ("eve", "Invalid user eve from 10.244.0.254"),
    ] {
        alice.ssh_with(&notebook, &["-l", user], &["true"]).refused(no);
        notebook.logs(&[reason]).await;
    }

    assert_eq!(alice.ssh(&notebook, &["id -un"]).ok(), "jovyan\n");
    notebook.logs(&["Accepted publickey for jovyan", &alice.fingerprint()]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alice_gets_in_under_pod_security_restricted() {
    let namespace = Namespace::new("restricted").await;
    let alice = Person::new("alice");
    gets_in_restricted(&namespace, &alice, "plain", restricted(), "0").await;

    let mut read_only = restricted();
    read_only.security["readOnlyRootFilesystem"] = json!(true);
    // What s6-overlay wants of a /run that is a volume.
    read_only.pod_security["fsGroup"] = json!(100);
    let wanted = "S6_YES_I_WANT_A_WORLD_WRITABLE_RUN_BECAUSE_KUBERNETES";
    read_only.env = json!([{"name": "S6_READ_ONLY_ROOT", "value": "1"}, {"name": wanted, "value": "1"}]);
    let places = ["run", "tmp", "ssh-conf"];
    read_only.volumes = places.map(|name| json!({"name": name, "emptyDir": {}})).to_vec().into();
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{}", name.replace('-', "_"))});
    read_only.mounts = places.map(mount).to_vec().into();
    let notebook = gets_in_restricted(&namespace, &alice, "read-only", read_only, "0").await;
    let write = alice.ssh(&notebook, &["touch /home/jovyan/file"]);
    assert!(write.code == Some(1) && write.err.contains("Read-only file system"), "{write:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn alice_gets_in_under_pod_security_restricted_in_the_group_users() {
    let namespace = Namespace::new("users").await;
    let alice = Person::new("alice");
    let mut in_users = restricted();
    // containerd makes no sandbox with a group and no user.
    in_users.pod_security["runAsUser"] = json!(1000);
    in_users.pod_security["runAsGroup"] = json!(100);
    in_users.pod_security["fsGroup"] = json!(100);
    gets_in_restricted(&namespace, &alice, "in-users", in_users, "100").await;
}

/// All that the level asks for.
pub(crate) fn restricted() -> Wish {
    Wish {
        pod_security: json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}),
        security: json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}),
        ..Wish::default()
    }
}

pub(crate) async fn gets_in_restricted(
    ns: &Namespace,
    alice: &Person,
    name: &str,
    wish: Wish,
    group: &str,
) -> Notebook {
    let notebook = ns.notebook(name, &[alice], wish).await;
    let status = alice.ssh(&notebook, &["cat /proc/self/status"]).ok();
    // Kubernetes 1.20 has no admission that proves the level: the kernel does.
    for fact in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "Seccomp:\t2"] {
        assert!(status.contains(fact), "{name}: no `{fact}` in {status}");
    }
    assert_eq!(alice.ssh(&notebook, &["id -g"]).ok().trim(), group, "{name}");
    let terminal = alice.ssh_with(&notebook, &["-tt"], &["tty"]).ok();
    assert!(terminal.starts_with("/dev/pts/"), "{name}: {terminal}");
    assert_eq!(notebook.restarts().await, 0, "{name}");
    notebook
}
