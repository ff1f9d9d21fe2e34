//! Rows that only the page shows: host keys of notebooks, and which parts run.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_model::{Label, NotebookId, PublicKey};

use crate::databases::{Database, on_both};
use crate::rows::{NOW, key};

#[test]
fn host_keys_are_what_was_said_last_and_no_others() {
    async fn story(database: Database) {
        let store = database.open().await;
        let id = |name: &str| NotebookId::parse("team-a", name).unwrap();
        let all = |keys: &[(&str, u8)]| -> BTreeMap<NotebookId, PublicKey> {
            keys.iter().map(|(name, number)| (id(name), key(*number))).collect()
        };
        let none = BTreeSet::new();
        store.set_host_keys(&all(&[("bert", 1), ("ernie", 2)]), &none, NOW).await.unwrap();
        assert_eq!(store.host_key(&id("bert")).await.unwrap(), Some(key(1)));
        store.set_host_keys(&all(&[("bert", 3), ("grover", 4)]), &none, NOW).await.unwrap();
        for (name, held) in [("bert", Some(key(3))), ("ernie", None), ("grover", Some(key(4)))] {
            assert_eq!(store.host_key(&id(name)).await.unwrap(), held, "{name}");
        }
    }
    on_both(story);
}

#[test]
fn a_host_key_that_was_replaced_is_revoked_until_its_last_certificate_has_ended() {
    async fn story(database: Database) {
        let store = database.open().await;
        let id = |name: &str| NotebookId::parse("team-a", name).unwrap();
        let (a, b) = (Label::parse("team-a").unwrap(), Label::parse("team-b").unwrap());
        let day = |days: i64| NOW.plus_seconds(days * 86_400);
        let says = async |keys: &[(&str, u8)], there: &[&str], days: i64| {
            let keys = keys.iter().map(|(name, number)| (id(name), key(*number))).collect();
            store.set_host_keys(&keys, &there.iter().map(|name| id(name)).collect(), day(days)).await.unwrap();
        };
        let revoked =
            async |namespace: &Label, days: i64| store.revoked_host_keys(&[namespace].into(), day(days)).await.unwrap();
        says(&[("bert", 1), ("ernie", 2)], &["bert", "ernie"], 0).await;
        assert_eq!(revoked(&a, 0).await, []);
        // Another key; and a Secret that is not in place for a moment, whose key nobody may be told to refuse.
        says(&[("bert", 3)], &["bert", "ernie"], 1).await;
        assert_eq!(revoked(&a, 1).await, [(id("bert"), key(1))]);
        assert_eq!(revoked(&b, 1).await, []);
        assert_eq!(store.host_key(&id("ernie")).await.unwrap(), Some(key(2)));
        // It comes back with another key, since somebody left meanwhile.
        says(&[("bert", 3), ("ernie", 4)], &["bert", "ernie"], 2).await;
        assert_eq!(revoked(&a, 2).await, [(id("ernie"), key(2)), (id("bert"), key(1))]);
        // A notebook that is gone had a key, too; one that a notebook has again is none to refuse.
        says(&[("bert", 1)], &["bert"], 3).await;
        assert_eq!(revoked(&a, 3).await, [(id("bert"), key(3)), (id("ernie"), key(4)), (id("ernie"), key(2))]);
        assert_eq!(revoked(&a, 16).await, [(id("bert"), key(3)), (id("ernie"), key(4))], "the one of day 2 has ended");
        assert_eq!(revoked(&a, 17).await, []);
        says(&[("bert", 1)], &["bert"], 17).await;
        assert_eq!(database.number("select count(*) from revoked_host_keys").await, 0, "old rows go");
    }
    on_both(story);
}

#[test]
fn more_host_keys_than_one_transaction_takes_are_all_written() {
    async fn story(database: Database) {
        let store = database.open().await;
        let ids: BTreeSet<_> =
            (0..450).map(|number| NotebookId::parse("team-a", &format!("n{number}")).unwrap()).collect();
        for number in [1, 2] {
            let keys = ids.iter().map(|id| (id.clone(), key(number))).collect();
            store.set_host_keys(&keys, &ids, NOW).await.unwrap();
        }
        let revoked = store.revoked_host_keys(&[&Label::parse("team-a").unwrap()].into(), NOW).await.unwrap();
        assert_eq!(revoked.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>(), ids);
    }
    on_both(story);
}

#[test]
fn keys_to_refuse_are_not_crowded_out_by_notebooks_that_come_and_go() {
    async fn story(database: Database) {
        let store = database.open().await;
        let id = |namespace: &str, name: &str| NotebookId::parse(namespace, name).unwrap();
        let (bert, ernie) = (id("team-a", "bert"), id("team-b", "ernie"));
        let there = BTreeSet::from([bert.clone(), ernie.clone()]);
        let keys = |number: u8| BTreeMap::from([(bert.clone(), key(number)), (ernie.clone(), key(number + 1))]);
        store.set_host_keys(&keys(1), &there, NOW).await.unwrap();
        store.set_host_keys(&keys(3), &there, NOW).await.unwrap();
        // Later than that, in the namespace whose name comes first, somebody makes notebooks and deletes them.
        let made = (0..1_001).map(|number| (id("team-a", &format!("n{number}")), key(5)));
        let later = NOW.plus_seconds(60);
        store.set_host_keys(&keys(3).into_iter().chain(made).collect(), &there, later).await.unwrap();
        store.set_host_keys(&keys(3), &there, later).await.unwrap();
        let (a, b) = (Label::parse("team-a").unwrap(), Label::parse("team-b").unwrap());
        let revoked = store.revoked_host_keys(&[&a, &b].into(), later).await.unwrap();
        assert_eq!(revoked.len(), 1_001);
        assert!(revoked.contains(&(bert, key(1))), "of the same namespace");
        assert!(revoked.contains(&(ernie, key(2))), "of another");
    }
    on_both(story);
}

#[test]
fn a_part_is_seen_when_any_process_last_said_so_and_forgotten_a_day_later() {
    async fn story(database: Database) {
        let store = database.open().await;
        store.beat_parts("one", &["operator", "page"], NOW).await.unwrap();
        store.beat_parts("two", &["page"], NOW.plus_seconds(20)).await.unwrap();
        store.beat_parts("one", &["operator"], NOW.plus_seconds(10)).await.unwrap();
        let seen = store.parts().await.unwrap();
        let seconds: Vec<(&str, i64)> = seen.iter().map(|(part, at)| (part.as_str(), (at.0 - NOW.0) / 1000)).collect();
        assert_eq!(seconds, [("operator", 10), ("page", 20)]);
        store.beat_parts("two", &["page"], NOW.plus_seconds(90_000)).await.unwrap();
        assert_eq!(store.parts().await.unwrap().into_keys().collect::<Vec<_>>(), ["page"]);
    }
    on_both(story);
}
