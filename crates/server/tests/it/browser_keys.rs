//! The list of keys in a browser: what it says of each, and what removing one does.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_server::clock::now;
use fairlead_server::store::sessions::SessionBegin;

use crate::browser_site::{Site, mail};
use crate::cluster::who;
use crate::databases::{Database, on_both_here};
use crate::rows::{begin, key};

impl Site {
    /// Fingerprints of somebody's keys, as the database has them.
    async fn keys(&self, person: &str) -> Vec<String> {
        let rows = self.store().list_keys(Some(&who(&mail(person))), now()).await.unwrap();
        rows.iter().map(|row| row.public.fingerprint().to_string()).collect()
    }
}

#[test]
fn keys_are_listed_end_on_a_day_and_are_removed_but_for_the_last() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        let alice = who(&mail("alice"));
        site.store().add_key(&alice, &key(1), "alice@laptop", now()).await.unwrap();
        site.store().add_key(&alice, &key(2), "<b>alice</b>@desk", now()).await.unwrap();
        // A gateway that carries sessions says that it lives.
        site.store().beat("gateway-1", now()).await.unwrap();
        for id in ["1", "2"] {
            let id = format!("{id:0>32}");
            let session = SessionBegin { key: key(2).fingerprint().clone(), at: now(), ..begin(&id, 0) };
            site.store().begin_session(&session).await.unwrap();
        }
        let browser = site.visit("alice", "/keys").await;
        browser.wait_text("tbody tr:nth-child(1)", "alice@laptop", 10).await;
        browser.wait_text("tbody tr:nth-child(1)", "Counts", 1).await;
        browser.wait_text("tbody tr:nth-child(1)", key(1).fingerprint().as_str(), 1).await;
        browser.wait_text("tbody tr:nth-child(2)", "<b>alice</b>@desk", 1).await;
        browser.wait_text("tbody tr:nth-child(2)", "ends 2 sessions", 1).await;
        // Its sessions say when it was used; of the other there are none.
        let today = jiff::Timestamp::from_millisecond(now().0).unwrap().strftime("%Y-%m-%d").to_string();
        browser.wait_text("tbody tr:nth-child(1) td:nth-child(3)", "never", 1).await;
        browser.wait_text("tbody tr:nth-child(2) td:nth-child(3)", &today, 1).await;
        assert_eq!(browser.count("td b").await, 0, "a key's name is text");

        // A third one, until a day.
        browser.click(".title a.button").await;
        browser.fill("#key", &format!("{} phone", key(3).line())).await;
        browser.eval("document.querySelector('#ends').value = '2031-05-06'").await;
        browser.click("form button.main").await;
        browser.wait_text("#state", "Waiting for the block", 10).await;
        let block = browser.text("#block-shell").await;
        let code = block.trim_end().rsplit(' ').next().unwrap();
        browser.goto(&site.at("/keys")).await;
        browser.wait_text("tbody tr:nth-child(3)", "Waits for proof", 10).await;
        browser.wait_text("tbody tr:nth-child(3)", "and confirm with an older key", 1).await;
        site.store().confirm_key(code, key(3).fingerprint(), now()).await.unwrap();
        let (new, old) = (key(3).fingerprint().clone(), key(1).fingerprint().clone());
        site.store().approve_key(code, &new, &old, &alice, now()).await.unwrap();
        browser.goto(&site.at("/keys")).await;
        browser.wait_text("tbody tr:nth-child(3)", "Counts", 10).await;
        browser.wait_text("tbody tr:nth-child(3)", "2031-05-06", 1).await;

        for (row, number) in [(3, 3), (2, 2)] {
            browser.click(&format!("tbody tr:nth-child({row}) button.danger")).await;
            browser.wait_text("#said", "Removed ", 10).await;
            browser.wait_count("tbody tr", row - 1).await;
            let left: Vec<String> = (1..number).map(|n| key(n).fingerprint().to_string()).collect();
            assert_eq!(site.keys("alice").await, left);
        }
        // What a script of a notebook could do here ends before the last one.
        browser.click("tbody tr:nth-child(1) button.danger").await;
        browser.wait_text("[role=alert]", "This is the last key that counts.", 10).await;
        assert_eq!(site.keys("alice").await.len(), 1);
        let said = browser.console().await;
        assert!(matches!(said.as_slice(), [one] if one.contains("409")), "no more than the refusal itself: {said:?}");
    }
    on_both_here(story);
}
