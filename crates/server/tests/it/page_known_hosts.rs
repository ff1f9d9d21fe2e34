//! What the page gives out for `known_hosts`: to each person their own.

use fairlead_server::clock;

use crate::databases::Database;
use crate::gateway_bed::id;
use crate::page_bed::PageBed;
use crate::rows::key;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_key_that_was_replaced_is_one_to_refuse_for_who_may_reach_the_notebook_and_a_secret_to_others() {
    let database = Database::sqlite();
    let bed = PageBed::start(database.open().await, &[]).await;
    let bert = id("team-a", "bert");
    for number in [7, 8] {
        let keys = [(bert.clone(), key(number))].into();
        bed.store.set_host_keys(&keys, &[bert.clone()].into(), clock::now()).await.unwrap();
    }
    let line = format!("@revoked bert.team-a.notebook {}", key(7).line());
    for (who, told) in [("alice", true), ("bob", true), ("carol", false), ("erin", false)] {
        let me = bed.get(who, "/api/v1/me").await.text;
        assert_eq!(me.contains(&line), told, "{who}: {me}");
        assert!(me.contains("@cert-authority *.notebook,fairlead-gateway ssh-"), "{me}");
        let number = 20 + who.len().to_le_bytes()[0];
        let block = bed.post(who, "/setup", &[("key", key(number).line())]).await.text;
        assert_eq!(block.matches(&line).count(), if told { 2 } else { 0 }, "in both terminals' blocks, {who}: {block}");
        assert!(!block.contains(&format!("@revoked bert.team-a.notebook {}", key(8).line())), "{block}");
    }
}
