//! The program itself, told to serve a page that would believe anybody, or that nobody could use: it says why and ends.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::process::{Command, Stdio};

const SECRET: [&str; 2] = ["--page-ingress-secret", "0123456789abcdef0123456789abcdef"];

/// What it says with these flags and variables, and whether it ended badly.
fn serve(flags: &[&str], variables: &[(&str, &str)]) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.args(["serve", "--parts", "page", "--metrics-listen", "127.0.0.1:0"]).args(flags);
    command.env_clear().envs(variables.iter().copied()).stdin(Stdio::null()).current_dir(dir.path());
    command.args(["--database", &format!("sqlite:{}/fairlead.db", dir.path().display())]);
    // No cluster: with settings that are right it ends for that, and says so.
    command.env("FAIRLEAD_KUBECONFIG", dir.path().join("none"));
    let output = command.output().unwrap();
    (!output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_page_that_would_believe_anybody_does_not_start() {
    let secret = SECRET.as_slice();
    let with = |more: &[&'static str]| [secret, more].concat();
    let mut wrong = Vec::new();
    for (flags, variables, said) in [
        (vec![], vec![], "would believe anybody who sends it the header `kubeflow-userid`"),
        (vec!["--page-ingress-secret", ""], vec![], "would believe anybody"),
        (vec![], vec![("FAIRLEAD_PAGE_INGRESS_SECRET", "")], "would believe anybody"),
        (vec!["--page-ingress-secret", "0123456789abcdef0123456789abcde"], vec![], "has fewer than 32 characters"),
        (vec!["--page-ingress-secret", "          0123456789abcdef0123456789          "], vec![], "fewer than 32"),
        (vec![], vec![("FAIRLEAD_PAGE_INGRESS_SECRET", "CHANGE-ME-with-openssl-rand-hex-32-and-more")], "placeholder"),
        (vec!["--page-demo"], vec![], "so it listens on loopback alone"),
        (vec!["--page-demo", "--page-listen", "192.0.2.1:8080"], vec![], "so it listens on loopback alone"),
        (vec!["--page-demo", "--page-listen", "[::]:8080"], vec![], "so it listens on loopback alone"),
        (with(&["--page-demo", "--page-listen", "127.0.0.1:0"]), vec![], "goes with no `--page-ingress-secret`"),
        (with(&["--page-prefix", "fairlead"]), vec![], "`--page-prefix` is a path"),
        (with(&["--page-prefix", "//evil.example.com"]), vec![], "`--page-prefix` is a path"),
        (with(&["--page-prefix", "/a/../b"]), vec![], "`--page-prefix` is a path"),
        (with(&["--page-prefix", "/a;Domain=x"]), vec![], "`--page-prefix` is a path"),
        (with(&["--page-host", "a/b"]), vec![], "`--page-host` is a host name"),
        (with(&["--page-host", "a b"]), vec![], "`--page-host` is a host name"),
        (with(&["--page-host", "https://a.example.com"]), vec![], "`--page-host` is a host name"),
        (with(&["--page-frame-ancestors", "*"]), vec![], "`--page-frame-ancestors` has origins"),
        (with(&["--page-frame-ancestors", "https://*"]), vec![], "`--page-frame-ancestors` has origins"),
        (with(&["--page-frame-ancestors", "https://"]), vec![], "`--page-frame-ancestors` has origins"),
        (with(&["--page-frame-ancestors", "https://a.example.com; script-src *"]), vec![], "has origins"),
        (with(&["--page-user-header", "kubeflow userid"]), vec![], "reading `--page-user-header`"),
        (with(&["--page-user-header", "X-Fairlead-Ingress"]), vec![], "`--page-user-header` is another one than"),
        (with(&["--page-admins", "root@example.com,a b"]), vec![], "reading the admin `a b`"),
    ] {
        let (failed, told) = serve(&flags, &variables);
        let is_error = failed && told.starts_with("error: ") && told.matches("hint:").count() <= 1;
        if !is_error || !told.contains(said) || told.contains(SECRET[1]) {
            wrong.push(format!("{flags:?} {variables:?}: {told}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let (failed, told) = serve(secret, &[]);
    assert!(failed && !told.contains("page") && told.contains("kubeconfig"), "with a secret it gets further: {told}");
}
