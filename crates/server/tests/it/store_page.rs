//! Rows that only the page shows: host keys of notebooks, and which parts run.

use std::collections::BTreeMap;

use fairlead_model::{NotebookId, PublicKey};

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
        store.set_host_keys(&all(&[("bert", 1), ("ernie", 2)])).await.unwrap();
        assert_eq!(store.host_key(&id("bert")).await.unwrap(), Some(key(1)));
        store.set_host_keys(&all(&[("bert", 3), ("grover", 4)])).await.unwrap();
        for (name, held) in [("bert", Some(key(3))), ("ernie", None), ("grover", Some(key(4)))] {
            assert_eq!(store.host_key(&id(name)).await.unwrap(), held, "{name}");
        }
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
