//! `fairlead-server keys` and `config`, by the program itself.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairlead_model::{Fact, PublicKey};
use fairlead_server::clock;
use fairlead_server::store::Store;
use tempfile::TempDir;

use crate::databases::on_both;
use crate::rows::{key, person};

/// How the program ended.
struct Said {
    good: bool,
    out: String,
    err: String,
}

fn run(url: &str, words: &[&str]) -> Said {
    run_with(url, words, "")
}

fn run_with(url: &str, words: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.args(words).env_clear().env("FAIRLEAD_DATABASE", url);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It may not read what it is given.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { good: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

/// A folder of files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path: PathBuf = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn at(dir: &TempDir, name: &str) -> String {
    Path::join(dir.path(), name).display().to_string()
}

fn line(key: &PublicKey, comment: &str) -> String {
    format!("{} {comment}\n", key.line())
}

#[test]
fn a_key_is_added_shown_and_removed() {
    on_both(|database| async move {
        let (url, key) = (database.url(), key(1));
        let fingerprint = key.fingerprint().as_str();
        let dir = folder(&[("id.pub", &line(&key, "alice at home"))]);
        let said = run(url, &["keys", "add", "alice@example.com", &at(&dir, "id.pub")]);
        assert!(
            said.good && said.out == format!("added {fingerprint} of alice@example.com\n"),
            "{}{}",
            said.out,
            said.err
        );
        let said = run_with(url, &["keys", "add", "bob@example.com", "-"], key.line());
        assert!(!said.good && said.err == "error: this key is registered already\n", "{}", said.err);

        // It counts at once, and the trail has it.
        let store = Store::open(url).await.unwrap();
        let Fact::Keys(keys, _) = store.key_fact(clock::now()).await.unwrap() else { panic!("not keys") };
        assert_eq!(keys[0].person, person("alice"));
        assert_eq!(store.list_audit(10).await.unwrap()[0].event, "key-added");

        let said = run(url, &["keys", "list"]);
        let expected = [fingerprint, "ssh-ed25519", "alice@example.com", "alice at home"];
        assert!(said.good && expected.iter().all(|part| said.out.contains(part)), "{}", said.out);
        let said = run(url, &["keys", "list", "alice@example.com", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!(
            (json[0]["fingerprint"].as_str(), json[0]["comment"].as_str()),
            (Some(fingerprint), Some("alice at home"))
        );
        assert_eq!(run(url, &["keys", "list", "bob@example.com"]).out, "");

        let said = run(url, &["keys", "remove", "bob@example.com", fingerprint]);
        assert!(!said.good && said.err.contains("hint: fairlead-server keys list bob@example.com"), "{}", said.err);
        let said = run(url, &["keys", "remove", "alice@example.com", fingerprint]);
        assert!(said.good, "{}", said.err);
        assert_eq!(run(url, &["keys", "list"]).out, "");
    });
}

#[test]
fn a_key_is_added_for_a_while_and_shown_with_its_end_and_its_last_use() {
    on_both(|database| async move {
        let url = database.url();
        let add = |number: u8, expires: &str| {
            run_with(url, &["keys", "add", "alice@example.com", "-", "--expires", expires], key(number).line())
        };
        let before = clock::now();
        let said = add(1, "90d");
        assert!(said.good && said.out.contains(" of alice@example.com, until 2"), "{}{}", said.out, said.err);
        let said = add(2, "2199-01-31");
        assert!(said.good && said.out.ends_with(", until 2199-01-31T00:00:00Z\n"), "{}{}", said.out, said.err);
        for (expires, says) in [
            ("2020-01-31", "2020-01-31T00:00:00Z is over"),
            ("2199-02-30", "days as `90d`"),
            ("2199-01-31T10:00:00", "days as `90d`"),
            ("0d", "days as `90d`"),
            ("-1d", "days as `90d`"),
            ("3651d", "days as `90d`"),
            ("90", "days as `90d`"),
            ("", "days as `90d`"),
        ] {
            let said = run_with(
                url,
                &["keys", "add", "alice@example.com", "-", &format!("--expires={expires}")],
                key(3).line(),
            );
            assert!(!said.good && said.err.contains(says), "{expires}: {}", said.err);
        }
        let store = Store::open(url).await.unwrap();
        let (alice, fingerprint) = (person("alice"), key(2).fingerprint().clone());
        let rows = store.list_keys(Some(&alice), before).await.unwrap();
        let end = rows.iter().find(|row| row.public == key(1)).unwrap().expires.unwrap();
        assert!((0..60_000).contains(&(end.0 - before.plus_seconds(90 * 86_400).0)), "{end:?}");

        let recorder = fairlead_server::recorder::Recorder::start(store.clone());
        recorder.sign_in(alice.clone(), fingerprint.clone(), fairlead_model::Time(4_000_000_000_000));
        assert_eq!(recorder.flush(std::time::Duration::from_secs(5)).await, 0);
        let past = fairlead_model::Time(1_000_000_000_000);
        store.add_key_until(&alice, &key(4), "", Some(past), past).await.unwrap();
        store.claim_key(&alice, &key(5), "", clock::now()).await.unwrap();
        let said = run(url, &["keys", "list"]);
        let line = |key: PublicKey| said.out.lines().find(|line| line.starts_with(key.fingerprint().as_str())).unwrap();
        for (number, part) in [
            (1, "never used"),
            (1, "  expires 2"),
            (2, "used 2096-10-02T07:06:40Z"),
            (2, "expires 2199-01-31T00:00:00Z"),
            (4, "expired 2001-09-09T01:46:40Z"),
            (5, "claimed"),
        ] {
            assert!(line(key(number)).contains(part), "{part} is not in {}", line(key(number)));
        }
        let said = run(url, &["keys", "list", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let row = |key: PublicKey| {
            let wanted = key.fingerprint().to_string();
            json.as_array().unwrap().iter().find(|row| row["fingerprint"] == wanted.as_str()).unwrap().clone()
        };
        assert_eq!(row(key(2))["expires"], "2199-01-31T00:00:00Z");
        assert_eq!(row(key(2))["used"], "2096-10-02T07:06:40Z");
        assert_eq!(row(key(5))["needs"], serde_json::json!({"own": true, "older": false}));
    });
}

#[test]
fn what_is_no_key_is_refused_with_the_reason() {
    on_both(|database| async move {
        let two = line(&key(1), "") + &line(&key(2), "");
        for (input, says) in [
            ("", "no key given"),
            ("command=\"x\" ssh-ed25519 AAAA", "options before the key"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----", "this is a private key"),
            (&two, "a key is one line"),
        ] {
            let said = run_with(database.url(), &["keys", "add", "alice@example.com", "-"], input);
            assert!(!said.good && said.err.contains(says), "{}", said.err);
        }
        for words in [
            &["keys", "add", "alice smith", "-"][..],
            &["keys", "add", "alice@example.com", "/nowhere/id.pub"],
            &["keys", "remove", "alice@example.com", "SHA256:short"],
            &["keys", "import", "/nowhere", "--person", "alice@example.com"],
            &["keys", "import", "/nowhere"],
        ] {
            let said = run(database.url(), words);
            assert!(!said.good && said.err.starts_with("error: "), "{words:?}: {}", said.err);
        }
        assert_eq!(run(database.url(), &["keys", "list"]).out, "");
    });
}

#[test]
fn a_tree_is_imported_by_file_name_and_again_without_change() {
    on_both(|database| async move {
        let url = database.url();
        let dir = folder(&[
            ("alice@example.com", &format!("# hers\n\n{}{}", line(&key(1), "a"), line(&key(2), "b"))),
            ("bob@example.com/.ssh/authorized_keys", &line(&key(3), "c")),
            ("bob@example.com/more", &line(&key(3), "c again")),
            (".git/config", "this is no key"),
        ]);
        let path = dir.path().display().to_string();
        let words = ["keys", "import", &path, "--by-file-name"];
        let dry = run(url, &[&words[..], &["--dry-run"]].concat());
        assert!(dry.good && dry.out.ends_with("3 to add, 1 there already\n"), "{}{}", dry.out, dry.err);
        assert_eq!(run(url, &["keys", "list"]).out, "");
        let said = run(url, &words);
        assert!(said.good && said.out.ends_with("3 added, 1 there already\n"), "{}{}", said.out, said.err);
        let said = run(url, &words);
        assert!(said.good && said.out == "0 added, 4 there already\n", "{}{}", said.out, said.err);
        assert_eq!(run(url, &["keys", "list", "alice@example.com"]).out.lines().count(), 2);
        assert_eq!(run(url, &["keys", "list", "bob@example.com"]).out.lines().count(), 1);
    });
}

#[test]
fn an_import_with_anything_wrong_adds_nothing_and_names_each_line() {
    on_both(|database| async move {
        let url = database.url();
        let dir = folder(&[
            ("tree/alice@example.com", &format!("{}from=\"10.0.0.1\" {}", line(&key(1), ""), line(&key(2), ""))),
            ("tree/bob@example.com", &line(&key(1), "")),
            ("tree/not a person", &line(&key(4), "")),
            ("tree/dave@example.com/keys", &line(&key(5), "")),
        ]);
        run_with(url, &["keys", "add", "erin@example.com", "-"], key(5).line());
        fs::write(dir.path().join("tree/carol@example.com"), [0xff, 0xfe]).unwrap();
        let said = run(url, &["keys", "import", &at(&dir, "tree"), "--by-file-name"]);
        assert!(!said.good && said.out.is_empty(), "{}", said.out);
        let tree = at(&dir, "tree");
        let expected = [
            "error: nothing was imported:".to_owned(),
            format!("reading `{tree}/carol@example.com`: not text in UTF-8"),
            format!("{tree}/alice@example.com:2: options before the key are not taken"),
            format!("{tree}/bob@example.com:1: this key is `alice@example.com`'s already"),
            format!("{tree}/dave@example.com/keys:1: this key is `erin@example.com`'s already"),
            format!("{tree}/not a person: its name is to be a person"),
        ];
        for part in &expected {
            assert!(said.err.contains(part), "{part} is not in\n{}", said.err);
        }
        assert_eq!(said.err.lines().count(), expected.len(), "{}", said.err);
        assert_eq!(run(url, &["keys", "list"]).out.lines().count(), 1);

        let said = run(url, &["keys", "import", &at(&dir, "tree/dave@example.com"), "--person", "erin@example.com"]);
        assert!(said.good && said.out == "0 added, 1 there already\n", "{}{}", said.out, said.err);
        let many: String = (100..151).map(|number| line(&key(number), "")).collect();
        fs::write(dir.path().join("many"), many).unwrap();
        let said = run(url, &["keys", "import", &at(&dir, "many"), "--person", "frank@example.com"]);
        assert!(
            !said.good && said.err.contains("/many:51: `frank@example.com` would have more than 50"),
            "{}",
            said.err
        );
    });
}

#[test]
fn config_shows_what_counts_and_no_secret() {
    let said = run("postgres://fairlead:hunter2@db/rows", &["config", "--ssh", "opt-in"]);
    assert!(said.good, "{}", said.err);
    assert!(!said.out.contains("hunter2"), "{}", said.out);
    for (setting, source) in [
        ("FAIRLEAD_DATABASE=postgres://fairlead:[redacted]@db/rows", "# environment"),
        ("FAIRLEAD_SSH=opt-in", "# flag"),
        ("FAIRLEAD_HOST_SUFFIX=notebook", "# default"),
        ("FAIRLEAD_KUBECONFIG=", "# not set"),
    ] {
        let found = said.out.lines().any(|line| line.starts_with(setting) && line.ends_with(source));
        assert!(found, "{setting} {source} is not in\n{}", said.out);
    }
    assert!(!run("postgres://a:hunter2@127.0.0.1:1/x", &["keys", "list"]).err.contains("hunter2"));
}
