//! The admin's pages in a browser, and that nobody else finds them.

use fairlead_server::clock::now;
use serde_json::json;

use crate::browser_site::{Greeter, Site, mail};
use crate::cluster::{eventually, id, who};
use crate::databases::{Database, on_both_here};
use crate::rows::key;

#[test]
fn an_admin_sees_what_is_wrong_switches_ssh_and_removes_a_key() {
    async fn story(database: Database) {
        let site = Site::start(database, &[]).await;
        let (bert, elmo) = (Greeter::start().await, Greeter::start().await);
        site.running("team-a", "bert", bert.ip()).await;
        site.notebook("team-a", "elmo", json!({})).await;
        site.pod("team-a", "elmo", elmo.ip(), |_| ()).await;
        let (name, shown) = ("<i>mallory</i>@example.com", "<i>mallory</i>@example.com");
        site.cluster.contributor("team-b", "user-mallory", name, "edit").await;
        let bob = who(&mail("bob"));
        site.store().add_key(&bob, &key(1), "bob@desk", now()).await.unwrap();
        site.store().add_key(&bob, &key(2), "bob@home", now().plus_seconds(1)).await.unwrap();

        let browser = site.visit("root", "/").await;
        browser.click("header nav a:last-child").await;
        browser.wait_text("main", "Needs a restart", 10).await;
        browser.wait_text("main", "fairlead-server check team-a/elmo", 1).await;
        assert_eq!(browser.count("section:nth-of-type(1) tbody tr").await, 1, "what runs is no problem");
        browser.wait_text("#ca", "@cert-authority *.notebook,fairlead-gateway ssh-ed25519 ", 1).await;
        for part in ["operator", "gateway", "page"] {
            eventually(part, async || {
                browser.goto(&site.at("/admin")).await;
                browser.text("main").await.contains(part).then_some(())
            })
            .await;
        }

        // Off: in the row, and in the page of who works there.
        let other = site.visit("bob", "/").await;
        other.wait_text("#nb-team-a_bert .state", "Running", 20).await;
        browser.goto(&site.at("/admin/namespaces?text=team-a")).await;
        browser.wait_count("tbody tr", 1).await;
        browser.click("tbody button.danger").await;
        browser.wait_text("tbody tr", "Off by root@example.com since ", 10).await;
        browser.wait_text("#said", "SSH is off in team-a.", 1).await;
        other.wait_text("#nb-team-a_bert .state", "SSH is off", 5).await;
        let rows = site.store().list_switches().await.unwrap();
        assert!(matches!(rows.as_slice(), [row] if row.namespace == id("team-a", "x").namespace), "{rows:?}");
        browser.click("tbody button").await;
        browser.wait_text("tbody tr", "Switch off", 10).await;
        other.wait_text("#nb-team-a_bert .state", "Running", 5).await;
        assert!(site.store().list_switches().await.unwrap().is_empty());

        browser.goto(&site.at("/admin/people")).await;
        browser.wait_text("main", shown, 10).await;
        assert_eq!(browser.count("td i").await, 0, "a person's name is text");
        browser.goto(&site.at("/admin/people?text=bob")).await;
        browser.wait_text("tbody tr", "team-a (edit)", 10).await;
        browser.click("tbody td:nth-child(3) a").await;
        browser.wait_text("tbody tr", "bob@desk", 10).await;
        browser.click("tbody button.danger").await;
        browser.wait_text("#said", "Removed SHA256:", 10).await;
        assert_eq!(browser.console().await, [""; 0]);
        // Not the last one: a script in a notebook could ask for it in the admin's name.
        browser.goto(&site.at("/admin/keys?text=bob")).await;
        browser.wait_count("tbody tr", 1).await;
        browser.click("tbody button.danger").await;
        browser.wait_text("[role=alert]", "This is the last key that counts.", 10).await;
        let left = site.store().list_keys(Some(&bob), now()).await.unwrap();
        assert!(matches!(left.as_slice(), [one] if one.public == key(2)), "{left:?}");

        // Whoever is none hears that there is no such thing.
        assert_eq!(other.count("header nav a[href$='/admin']").await, 0);
        for path in ["/admin", "/admin/namespaces", "/admin/people", "/admin/keys"] {
            other.goto(&site.at(path)).await;
            other.wait_text("[role=alert]", "There is no such thing here, or it is not yours.", 10).await;
            let status = "return performance.getEntriesByType('navigation')[0].responseStatus";
            assert_eq!(other.eval(status).await, 404);
        }
    }
    on_both_here(story);
}
