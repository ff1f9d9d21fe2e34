//! Sessions in a browser: found, told as a file, and ended, the last of them a real one.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use fairlead_model::identity::HostIdentity;
use fairlead_server::clock::now;
use fairlead_server::store::sessions::SessionBegin;
use k8s_openapi::api::core::v1::Secret;

use crate::browser_laptop::Laptop;
use crate::browser_site::{Site, mail, until};
use crate::cluster::{eventually, id, mounted, who};
use crate::databases::{Database, on_both_here};
use crate::gateway_bed::Sshd;
use crate::rows::{begin, end};

/// A session of `person` in `team-a/NOTEBOOK`, so many seconds before the newest; all of them after the namespace was
/// made, which was just now: its owner sees no earlier ones.
fn session(number: usize, person: &str, notebook: &str, seconds: i64) -> SessionBegin {
    SessionBegin {
        person: who(&mail(person)),
        notebook: id("team-a", notebook),
        at: now().plus_seconds(100 - seconds),
        ..begin(&format!("{number:032}"), 0)
    }
}

#[test]
fn sessions_are_found_told_as_a_file_and_ended() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        let store = site.store();
        // A gateway that carries sessions says that it lives; those of others are lost.
        store.beat("gateway-1", now()).await.unwrap();
        let strange = SessionBegin {
            client: "SSH-2.0-<script>alert(1)</script>".to_owned(),
            from: "203.0.113.9:4000".to_owned(),
            ..session(1, "bob", "bert", 1)
        };
        store.begin_session(&strange).await.unwrap();
        store.begin_session(&session(2, "erin", "grover", 2)).await.unwrap();
        store.end_session(&end(&format!("{:032}", 2), 0, "closed")).await.unwrap();
        for number in 3..60 {
            store.begin_session(&session(number, "alice", "elmo", 10 + i64::try_from(number).unwrap())).await.unwrap();
            store.end_session(&end(&format!("{number:032}"), 0, "the key was removed")).await.unwrap();
        }

        // alice owns team-a, so she sees what others do there.
        let browser = site.visit("alice", "/sessions").await;
        browser.wait_text("tbody tr:nth-child(1)", "SSH-2.0-<script>alert(1)</script>", 10).await;
        browser.wait_text("tbody tr:nth-child(1)", "now", 1).await;
        browser.wait_text("tbody tr:nth-child(2)", "closed", 1).await;
        browser.wait_text("tbody tr:nth-child(2)", "↑ 4.7 GiB ↓ 7 B", 1).await;
        assert_eq!(browser.count("tbody tr").await, 50);
        browser.click("main > p:last-child a.button").await;
        browser.wait_count("tbody tr", 9).await;

        browser.goto(&site.at("/sessions")).await;
        browser.fill("#text", "grover").await;
        browser.press("\u{e007}").await;
        browser.wait_count("tbody tr", 1).await;
        browser.goto(&site.at("/sessions")).await;
        browser.click("input[name=live]").await;
        browser.click("form.row button").await;
        browser.wait_count("tbody tr", 1).await;
        browser.wait_text("tbody tr", "bob@example.com", 5).await;
        browser.click(".title a.button").await;
        let text = browser.downloaded("fairlead-sessions.csv").await;
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].starts_with("began,ended,person,namespace,notebook,"));
        assert!(lines[1].contains(",\"bob@example.com\",\"team-a\",\"bert\",\"jump\",\"203.0.113.9:4000\","), "{text}");

        browser.click("tbody button.danger").await;
        browser.wait_text("#said", "It ends now.", 10).await;
        let asked = store.ends_asked("gateway-1").await.unwrap();
        assert_eq!(asked, [(format!("{:032}", 1), who(&mail("alice")))]);
        assert_eq!(browser.console().await, [""; 0]);

        // bob owns nothing there: his own alone.
        site.sign_in(&browser, "bob").await;
        browser.goto(&site.at("/sessions")).await;
        browser.wait_count("tbody tr", 1).await;
        site.sign_in(&browser, "root").await;
        browser.goto(&site.at("/sessions?text=erin")).await;
        browser.wait_count("tbody tr", 1).await;
        browser.wait_text("main", "Every connection to every notebook.", 5).await;
    }
    on_both_here(story);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_session_is_shown_and_ended() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let dir = tempfile::tempdir().unwrap();
    site.notebook("team-a", "bert", serde_json::json!({})).await;
    let made = eventually("its Secret", async || site.cluster.secret("team-a", "fairlead-bert").await).await;
    let bert = Sshd::start(dir.path(), "bert", &identity(&made));
    site.pod("team-a", "bert", bert.ip, mounted).await;

    let laptop = Laptop::new("laptop");
    let browser = site.visit("alice", "/setup").await;
    let block = site.begins(&browser, &laptop.key()).await;
    assert_eq!(laptop.runs(&block).await.code, Some(0));
    browser.goto(&site.at("/")).await;
    browser.wait_text("#nb-team-a_bert .state", "Running", 20).await;
    let command = browser.text("#ssh-nb-team-a_bert").await;
    // The Pod of this test is this machine, whose user is another one than a notebook's.
    let ssh = command.replace("ssh ", "ssh -o BatchMode=yes -l root ");
    let work = async { laptop.runs(&format!("{ssh} 'echo in $NOTEBOOK; exec sleep 60' > .ssh/said\n")).await };
    let look = async {
        browser.wait_text("#nb-team-a_bert", "1 session now", 20).await;
        until("it is in", async || laptop.file("said") == "in bert\n").await;
        browser.goto(&site.at("/sessions?live=1")).await;
        browser.wait_text("tbody tr", "alice@example.com", 10).await;
        browser.click("tbody button.danger").await;
        std::time::Instant::now()
    };
    let (said, ended) = tokio::join!(work, look);
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    assert!(said.code == Some(255) && said.err.contains("this session was ended on request"), "{said:?}");
    until("it is over", async || {
        browser.goto(&site.at("/sessions?text=bert")).await;
        browser.count("tbody button.danger").await == 0
    })
    .await;
    let rows = site.store().list_sessions(None, 10).await.unwrap();
    assert!(matches!(rows.as_slice(), [(_, Some(_))]), "{rows:?}");
}

/// What the operator put into a notebook's Secret.
fn identity(secret: &Secret) -> HostIdentity {
    let file = |name: &str| String::from_utf8(secret.data.as_ref().unwrap()[name].0.clone()).unwrap();
    HostIdentity {
        private: file("ssh_host_ed25519_key"),
        public: String::new(),
        certificate: file("ssh_host_ed25519_key-cert.pub"),
    }
}
