//! A computer set up as a person does it: a key pasted into the page, the block run by a real shell and ssh against the
//! gateway of the same server, and the page that says live what counts.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use crate::browser::Browser;
use crate::browser_laptop::Laptop;
use crate::browser_site::{Site, mail, until};
use crate::cluster::who;
use crate::databases::{Database, on_both_here};

impl Site {
    /// Pastes a key into the page and takes the block that comes.
    pub(crate) async fn begins(&self, browser: &Browser, key: &str) -> String {
        browser.goto(&self.at("/setup")).await;
        browser.fill("#key", key.trim()).await;
        browser.click("form button.main").await;
        browser.text("#block-shell").await + "\n"
    }

    /// How many keys of somebody's count.
    async fn counting(&self, person: &str) -> usize {
        let keys = self.store().list_keys(Some(&who(&mail(person))), fairlead_server::clock::now()).await.unwrap();
        keys.iter().filter(|key| key.confirmed.is_some()).count()
    }
}

/// What the page says when a key counts.
const COUNTS: &str = "This key counts. Try it:";

#[test]
fn a_pasted_block_makes_the_key_count_and_the_page_says_so_live() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        site.notebook("team-a", "bert", serde_json::json!({})).await;
        let (laptop, desk) = (Laptop::new("laptop"), Laptop::new("desk"));
        std::fs::write(laptop.path("config"), "Host other\n  Port 7\n").unwrap();
        let browser = site.visit("alice", "/").await;
        browser.wait_text("#summary", "no key of yours counts", 10).await;
        browser.click("#summary a").await;
        let block = site.begins(&browser, &laptop.key()).await;
        browser.wait_text("#state", "Waiting for the block to run", 10).await;
        assert_eq!(site.counting("alice").await, 0);

        let said = laptop.runs(&block).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let live = until(COUNTS, async || browser.text("#state").await.contains(COUNTS)).await;
        println!("from confirm to page: {live:?}");
        assert!(live <= Duration::from_secs(2), "{live:?}");
        browser.wait_text("#try", "ssh bert.team-a.notebook", 2).await;
        assert_eq!(site.counting("alice").await, 1);
        let config = laptop.file("config");
        assert_eq!(config, "Include fairlead.conf\n\nHost other\n  Port 7\n");
        let listed = laptop.runs("ssh fairlead-gateway ls\n").await;
        assert!(listed.code == Some(0) && listed.out.contains("bert.team-a.notebook"), "{listed:?}");
        browser.goto(&site.at("/")).await;
        browser.wait_text(".card", "bert", 10).await;
        assert_eq!(browser.count("#summary .notice").await, 0);

        // For the same key again the block has no code, and changes nothing.
        let files = ["config", "fairlead.conf", "fairlead_known_hosts"];
        let before = files.map(|file| laptop.file(file));
        browser.goto(&site.at("/setup")).await;
        browser.click("section a").await;
        let again = browser.text("#block-shell").await + "\n";
        assert!(!again.contains("confirm"), "{again}");
        let said = laptop.runs(&again).await;
        assert!(said.code == Some(0) && said.out.contains("bert.team-a.notebook"), "{said:?}");
        assert_eq!(files.map(|file| laptop.file(file)), before);

        // A further key needs a word of the older one: every notebook could script this page.
        let block = site.begins(&browser, &desk.key()).await;
        let said = desk.runs(&block).await;
        assert!(said.code == Some(0), "{said:?}");
        browser.wait_text("#state", "This key is a further one", 10).await;
        assert_eq!(site.counting("alice").await, 1);
        let confirm = browser.text("#older").await;
        assert!(confirm.starts_with("ssh fairlead-gateway confirm "), "{confirm}");
        let refused = desk.runs(&format!("{confirm}\n")).await;
        assert_ne!(refused.code, Some(0), "the new key says yes to itself: {refused:?}");
        // What the page shows, which a notebook could script, approves nothing: it shows what the new terminal showed.
        let shown = laptop.runs(&format!("{confirm}\n")).await;
        let approve = shown.out.trim_end().lines().last().unwrap().trim().to_owned();
        assert!(shown.code == Some(0) && said.out.trim_end().ends_with(&approve), "{shown:?} {said:?}");
        assert_eq!(site.counting("alice").await, 1);
        let approved = laptop.runs(&format!("{approve}\n")).await;
        assert_eq!(approved.code, Some(0), "{approved:?}");
        browser.wait_text("#state", COUNTS, 5).await;
        assert_eq!(browser.text("#older").await, "", "it is hidden once it is of no use");
        assert_eq!(site.counting("alice").await, 2);
        assert_eq!(browser.console().await, [""; 0]);
    }
    on_both_here(story);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_at_its_own_host_name_needs_no_older_key() {
    let site = Site::start(Database::sqlite(), &["--page-host", "127.0.0.1"]).await;
    let browser = site.visit("alice", "/").await;
    for (count, name) in [(1, "laptop"), (2, "desk")] {
        let laptop = Laptop::new(name);
        let block = site.begins(&browser, &laptop.key()).await;
        let said = laptop.runs(&block).await;
        assert_eq!(said.code, Some(0), "{said:?}");
        browser.wait_text("#state", COUNTS, 5).await;
        assert_eq!(site.counting("alice").await, count);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_cannot_be_one_is_said_to_be_what_it_is() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let laptop = Laptop::new("laptop");
    let (key, private) = (laptop.key(), laptop.file("id_ed25519"));
    let browser = site.visit("alice", "/setup").await;
    let damaged = key.replacen("AAAA", "AAAB", 1);
    let weak = made(&laptop, "weak", &["-t", "rsa", "-b", "2048"]);
    let certified = format!("ssh-ed25519-cert-v01@openssh.com {}", key.split(' ').nth(1).unwrap());
    for (text, told) in [
        (key.replacen("ssh-ed25519", "ssh-dss", 1), "Keys of this type are not taken."),
        (weak, "An RSA key must have 3072 to 8192 bits, this one has 2048."),
        (damaged, "The key is damaged. Copy the whole line of the .pub file."),
        (format!("command=\"sh\" {key}"), "Options before the key are not taken."),
        (certified, "This is a certificate, not a key."),
        (format!("{key}{key}"), "One key at a time: this text has 2 lines."),
        (" ".to_owned(), "There is no key in this text."),
    ] {
        browser.fill("#key", &text).await;
        browser.click("form button.main").await;
        browser.wait_text("#error", told, 10).await;
        assert_eq!(browser.value("#key").await.trim(), text.trim(), "what was pasted is there to be mended");
        assert_eq!(browser.attribute("#key", "aria-describedby").await.as_deref(), Some("error"));
    }
    // A private key is a stranger's from here on, and does not come back.
    browser.fill("#key", &private).await;
    browser.click("form button.main").await;
    browser.wait_text("#error", "This is a PRIVATE key, which nobody else may ever see.", 10).await;
    assert_eq!(browser.value("#key").await, "");
    let source = browser.eval("return document.documentElement.outerHTML").await;
    assert!(!source.as_str().unwrap().contains(private.lines().nth(1).unwrap()));

    // An end that is over, and nothing came of all of it.
    browser.fill("#key", &key).await;
    browser.eval("document.querySelector('#ends').value = '2020-01-01'").await;
    browser.click("form button.main").await;
    browser.wait_text("#error", "A key ends on a day to come", 10).await;
    assert!(site.store().list_keys(None, fairlead_server::clock::now()).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_into_the_field_and_the_block_comes_as_a_file() {
    let site = Site::start(Database::sqlite(), &[]).await;
    let laptop = Laptop::new("laptop");
    let browser = site.visit("alice", "/setup").await;
    let path = laptop.path("id_ed25519.pub");
    browser.types("#file", path.to_str().unwrap()).await;
    until("the file's text", async || browser.value("#key").await.contains("laptop")).await;
    browser.click("form button.main").await;
    let shown = browser.text("#block-shell").await;
    browser.click("details[open] form button").await;
    let text = browser.downloaded("fairlead-setup.sh").await;
    assert_eq!(text.trim(), shown.trim());
    let said = laptop.runs(&text).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    browser.wait_text("#state", COUNTS, 5).await;
    assert_eq!(browser.console().await, [""; 0]);
}

/// A further pair on a computer; its public line.
fn made(laptop: &Laptop, name: &str, kind: &[&str]) -> String {
    let mut command = std::process::Command::new("ssh-keygen");
    assert!(command.args(["-q", "-N", "", "-f"]).arg(laptop.path(name)).args(kind).status().unwrap().success());
    laptop.file(&format!("{name}.pub"))
}
