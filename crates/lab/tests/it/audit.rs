//! ssh-audit's word on the image's sshd. What it says is in `docs/ssh-audit.txt`, written anew with
//! `FAIRLEAD_UPDATE_DOCS=1`.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fairlead_lab::paths;

use crate::harness::{Said, run, within};
use crate::notebook::{Namespace, Notebook, Wish};

/// Pinned, because another version judges by other rules and prints other lines.
const SSH_AUDIT: &str = "ssh-audit==3.9.0";
/// What people's older clients need, and the only thing that may be warned about.
const OLDER: [&str; 2] = ["curve25519-sha256", "curve25519-sha256@libssh.org"];

#[tokio::test(flavor = "multi_thread")]
async fn ssh_audit_finds_no_failure_and_warns_of_curve25519_alone() {
    let namespace = Namespace::new("audit").await;
    let notebook = namespace.start("ml", Wish::default()).await;
    notebook.listens().await;

    let said = audit(&notebook);
    // 2 stands for warnings without a failure.
    assert_eq!(said.code, Some(2), "{said:?}");
    assert_eq!(objections(&said.out, "fail"), [""; 0]);
    assert_eq!(objections(&said.out, "warn"), OLDER);

    let docs = paths::project().join("docs/ssh-audit.txt");
    if std::env::var_os("FAIRLEAD_UPDATE_DOCS").is_some_and(|value| value == "1") {
        fs::write(&docs, page(&said.out)).unwrap();
    }
    let written = fs::read_to_string(&docs).unwrap();
    assert!(algorithms(&said.out).len() > 20, "{said:?}");
    let stale = "docs/ssh-audit.txt is stale: `FAIRLEAD_UPDATE_DOCS=1 cargo test audit` writes it";
    assert_eq!(algorithms(&written), algorithms(&said.out), "{stale}");

    // The same eyes see what it costs to let older clients in, in the way of docs/images.md.
    let advice = fs::read_to_string(paths::project().join("docs/images.md")).unwrap();
    let keywords = ["KexAlgorithms ", "MACs ", "HostKeyAlgorithms "];
    let wider: Vec<&str> = advice.lines().filter(|line| keywords.iter().any(|word| line.starts_with(word))).collect();
    assert_eq!(wider.len(), keywords.len(), "{wider:?}");
    let wider = wider.join("\n");
    let pid = "cat /ssh_conf/sshd.pid 2>/dev/null || true";
    let before = notebook.inside(pid);
    let file = "/ssh_conf/sshd_config.d/older-clients.conf";
    notebook.inside(&format!("cat >{file} <<'END'\n{wider}\nEND\nkill {before}"));
    let another = async || Some(notebook.inside(pid)).filter(|now| !now.is_empty() && *now != before);
    within(10, "another sshd has started", another).await;
    notebook.listens().await;
    let said = audit(&notebook);
    assert_eq!(said.code, Some(3), "{said:?}");
    let failures = objections(&said.out, "fail");
    for weak in ["ecdh-sha2-nistp256", "ecdsa-sha2-nistp256"] {
        assert!(failures.iter().any(|name| name == weak), "{weak}: {failures:?}");
    }
}

/// Runs ssh-audit, without its test of how many connections a second sshd takes: that measures the machine.
fn audit(notebook: &Notebook) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "60"]).arg(installed()).args(["--no-colors", "--skip-rate-test", "--port", "2209"]);
    run(command.arg(&notebook.address))
}

/// The program, installed into an environment of its own in the cache when it is not there yet.
fn installed() -> PathBuf {
    let python = paths::cache().unwrap().join("python");
    let _lock = paths::lock(&python.join("lock")).unwrap();
    let environment = python.join(SSH_AUDIT);
    let program = environment.join("bin/ssh-audit");
    // pip writes the program last.
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment)).ok();
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", SSH_AUDIT])).ok();
    }
    program
}

/// What `level` is said of, each once: the algorithm, or the whole line where it is none.
fn objections(report: &str, level: &str) -> Vec<String> {
    let (mut about, mut found) = ("", Vec::new());
    for line in report.lines() {
        // Further words on an algorithm stand below it, indented.
        if !line.starts_with(' ') {
            about = if is_algorithm(line) { line.split(' ').nth(1).unwrap_or(line) } else { line };
        }
        if line.contains(&format!("[{level}]")) && found.last().map(String::as_str) != Some(about) {
            found.push(about.to_owned());
        }
    }
    found
}

/// The lines that say which algorithms there are and what is thought of them.
fn algorithms(report: &str) -> Vec<&str> {
    report.lines().filter(|line| is_algorithm(line) || line.trim_start().starts_with('`')).collect()
}

fn is_algorithm(line: &str) -> bool {
    ["(kex)", "(key)", "(enc)", "(mac)"].iter().any(|kind| line.starts_with(kind))
}

/// The report as a page of the documentation: with the command, and without the keys of a Pod that is gone.
fn page(report: &str) -> String {
    let lines = report.lines().filter(|line| !line.starts_with("(fin)") && !line.starts_with("# fingerprints"));
    let lines: Vec<&str> = lines.map(str::trim_end).collect();
    // Where the fingerprints were, two empty lines are left.
    let report = lines.join("\n").replace("\n\n\n", "\n\n");
    format!("# {SSH_AUDIT}: ssh-audit --no-colors --skip-rate-test --port 2209 ADDRESS\n\n{}\n", report.trim_end())
}
