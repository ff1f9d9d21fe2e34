//! What people see when the lab cannot do what they asked.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use fairlead_lab::cluster::Cluster;
use fairlead_lab::paths;

use crate::harness::{Said, run};

#[tokio::test(flavor = "multi_thread")]
async fn without_root_the_lab_says_what_it_needs_root_for() {
    // Where anybody may run it from.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("fairlead-lab");
    fs::copy(env!("CARGO_BIN_EXE_fairlead-lab"), &program).unwrap();

    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&program);
    let said = run(as_nobody.arg("up").current_dir("/"));
    fails_with(&said, "a cluster needs root: it makes namespaces, mounts and cgroups\nhint: sudo -E make lab-up");

    let said = run(Command::new(&program).arg("up"));
    assert!(said.ok().starts_with("export KUBECONFIG="));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_cluster_is_told_what_the_first_one_holds() {
    let first = Cluster::shared().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut lab = lab();
    let said = run(lab.arg("up").env("FAIRLEAD_LAB_DIR", folder.path().join("second")));
    fails_with(&said, "the interface `fairlead0` is there already");
    assert!(said.err.contains("hint: "), "{said:?}");
    assert!(!folder.path().join("second").exists(), "a failed start leaves its folder");

    assert_eq!(Cluster::running().map(|cluster| cluster.kubeconfig), Some(first.kubeconfig.clone()));
    assert!(first.client().await.unwrap().apiserver_version().await.is_ok());
}

#[test]
fn a_folder_with_a_persons_files_is_not_taken_for_the_labs() {
    let folder = tempfile::tempdir().unwrap();
    let thesis = folder.path().join("thesis");
    fs::write(&thesis, "years of work").unwrap();
    for verb in ["down", "up"] {
        let said = run(lab().arg(verb).env("FAIRLEAD_LAB_DIR", folder.path()));
        assert_eq!(fs::read_to_string(&thesis).unwrap_or_default(), "years of work", "`{verb}` removed it");
        fails_with(&said, "has files that are not the lab's");
    }
}

#[test]
fn control_planes_are_not_kept_where_others_can_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let planes = folder.path().join("fairlead-lab-control-planes");
    fs::create_dir(&planes).unwrap();
    fs::set_permissions(&planes, fs::Permissions::from_mode(0o1777)).unwrap();
    for arguments in [&["status"][..], &["down"], &["up", "--control-plane"]] {
        let said = run(lab().args(arguments).env("FAIRLEAD_LAB_DIR", folder.path().join("lab")));
        fails_with(&said, "is not a folder that uid 0 alone can write to");
    }
}

#[test]
fn a_failed_build_names_its_step_and_its_log_and_shows_the_end_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let path = |broken: &str| {
        let program = folder.path().join(broken);
        fs::write(&program, "#!/bin/sh\nset -eu\necho 'no space left, says the test' >&2\nexit 9\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap())
    };

    let out = cache.join("kubernetes");
    let mut build = Command::new(paths::project().join("lab/build-kubernetes"));
    let said = run(build.arg(&out).env("PATH", path("apt-get")));
    assert_eq!(said.code, Some(9), "{said:?}");
    let log = format!("the end of {}:\n", out.join("build.log").display());
    for part in ["building Kubernetes failed while: installing the compiler", &log, "no space left, says the test"] {
        assert!(said.err.contains(part), "no `{part}` in {said:?}");
    }
    assert!(!out.join("complete").exists());

    let mut build = Command::new(paths::project().join("lab/build-images"));
    let said = run(build.arg(cache.join("images")).env("PATH", path("gcc")));
    let log = format!("building pause failed; its log is {}", cache.join("images/log/pause.log").display());
    for part in [log.as_str(), "no space left, says the test"] {
        assert!(said.err.contains(part), "no `{part}` in {said:?}");
    }
}

fn lab() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fairlead-lab"))
}

fn fails_with(said: &Said, reason: &str) {
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains(reason), "expected `{reason}`: {said:?}");
}
