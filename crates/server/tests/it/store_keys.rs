//! The story of keys, told to both databases.

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_model::world::Key;
use fairlead_model::{Fact, Person, PublicKey};
use fairlead_server::ledger;
use fairlead_server::serve::feed_rows;
use fairlead_server::store::Topic;
use fairlead_server::store::keys::{CLAIM_SECONDS, Confirmed, KeyRefused, MAX_KEYS};
use fairlead_server::store::records::{Record, Unwritten};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::databases::on_both;
use crate::rows::{NOW, begin, key, person};

fn counts(person: &Person, key: &PublicKey) -> Confirmed {
    Confirmed::Counts(person.clone(), key.fingerprint().clone())
}

#[test]
fn a_claimed_key_counts_once_its_code_comes_back_with_it() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, key) = (person("alice"), key(1));
        let claim = store.claim_key(&alice, &key, "laptop", NOW).await.unwrap();
        assert_eq!(claim.expires, NOW.plus_seconds(CLAIM_SECONDS));
        assert_eq!(claim.code.len(), 8);
        let claims = BTreeMap::from([(key.fingerprint().clone(), claim.expires)]);
        assert_eq!(store.key_fact(NOW).await.unwrap(), Fact::Keys(Vec::new(), claims));

        // However it was typed.
        let typed = format!(" {}-{} ", claim.code[..4].to_lowercase(), &claim.code[4..]);
        let later = NOW.plus_seconds(1);
        assert_eq!(store.confirm_key(&typed, key.fingerprint(), later).await.unwrap(), counts(&alice, &key));
        let fact = Fact::Keys(vec![Key { person: alice.clone(), public: key.clone() }], BTreeMap::new());
        assert_eq!(store.key_fact(NOW.plus_seconds(CLAIM_SECONDS + 1)).await.unwrap(), fact);
        let rows = store.list_keys(Some(&alice), NOW).await.unwrap();
        assert_eq!(
            (rows[0].comment.as_str(), rows[0].added, rows[0].confirmed, rows.len()),
            ("laptop", NOW, Some(later), 1)
        );
        assert!(store.list_keys(Some(&person("bob")), NOW).await.unwrap().is_empty());

        // A code works once.
        let again = store.confirm_key(&claim.code, key.fingerprint(), NOW).await;
        assert!(matches!(again, Err(KeyRefused::BadCode)), "{again:?}");
    });
}

#[test]
fn a_code_is_refused_with_another_key_too_late_and_when_a_new_claim_replaced_it() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        let claim = store.claim_key(&alice, &key(1), "", NOW).await.unwrap();
        store.claim_key(&alice, &key(2), "", NOW).await.unwrap();
        let other = store.confirm_key(&claim.code, key(2).fingerprint(), NOW).await.unwrap_err().to_string();
        let wrong = store.confirm_key("ABCDEFGH", key(1).fingerprint(), NOW).await.unwrap_err().to_string();
        let none = store.confirm_key("", key(3).fingerprint(), NOW).await.unwrap_err().to_string();
        let late = store.confirm_key(&claim.code, key(1).fingerprint(), claim.expires).await.unwrap_err().to_string();
        let new = store.claim_key(&alice, &key(1), "", NOW).await.unwrap();
        let replaced = store.confirm_key(&claim.code, key(1).fingerprint(), NOW).await.unwrap_err().to_string();
        // One and the same answer: nobody learns which of it was wrong.
        let expected = KeyRefused::BadCode.to_string();
        for told in [other, wrong, none, late, replaced] {
            assert_eq!(told, expected);
        }
        store.confirm_key(&new.code, key(1).fingerprint(), NOW).await.unwrap();
    });
}

#[test]
fn a_claim_keeps_nobody_from_the_key_and_the_first_to_prove_it_has_it() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, mallory, key) = (person("alice"), person("mallory"), key(1));
        let hers = store.claim_key(&mallory, &key, "", NOW).await.unwrap();
        let his = store.claim_key(&alice, &key, "", NOW).await.unwrap();
        assert_eq!(store.confirm_key(&his.code, key.fingerprint(), NOW).await.unwrap(), counts(&alice, &key));
        let late = store.confirm_key(&hers.code, key.fingerprint(), NOW).await;
        assert!(matches!(late, Err(KeyRefused::BadCode)), "{late:?}");
        for refused in [
            store.claim_key(&mallory, &key, "", NOW).await.unwrap_err(),
            store.claim_key(&alice, &key, "", NOW).await.unwrap_err(),
            store.add_key(&mallory, &key, "", NOW).await.unwrap_err(),
        ] {
            assert!(matches!(refused, KeyRefused::Taken), "{refused:?}");
        }
        assert!(!store.remove_key(&mallory, key.fingerprint()).await.unwrap());
        assert!(store.remove_key(&alice, key.fingerprint()).await.unwrap());
        store.add_key(&mallory, &key, "", NOW).await.unwrap();
    });
}

#[test]
fn an_admins_word_ends_other_peoples_claims() {
    on_both(|database| async move {
        let store = database.open().await;
        let claim = store.claim_key(&person("mallory"), &key(1), "", NOW).await.unwrap();
        store.claim_key(&person("alice"), &key(1), "old", NOW).await.unwrap();
        store.add_key(&person("alice"), &key(1), "new", NOW).await.unwrap();
        assert!(store.confirm_key(&claim.code, key(1).fingerprint(), NOW).await.is_err());
        let rows = store.list_keys(None, NOW).await.unwrap();
        assert_eq!((rows.len(), rows[0].comment.as_str(), rows[0].confirmed), (1, "new", Some(NOW)));
    });
}

#[test]
fn fifty_keys_are_the_limit_also_when_all_come_at_once_and_expired_claims_do_not_count() {
    on_both(|database| async move {
        let store = database.open().await;
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut taken = 0;
                for number in 0..10 {
                    match store.claim_key(&person("alice"), &key(task * 10 + number), "", NOW).await {
                        Ok(_) => taken += 1,
                        Err(refused) => assert!(matches!(refused, KeyRefused::TooMany), "{refused:?}"),
                    }
                }
                taken
            });
        }
        assert_eq!(tasks.join_all().await.into_iter().sum::<i64>(), MAX_KEYS);
        store.claim_key(&person("bob"), &key(0), "", NOW).await.unwrap();
        let later = NOW.plus_seconds(CLAIM_SECONDS);
        assert!(store.list_keys(None, later).await.unwrap().is_empty());
        store.claim_key(&person("alice"), &key(200), "", later).await.unwrap();
    });
}

#[test]
fn when_everybody_proves_the_same_key_at_once_one_has_it() {
    on_both(|database| async move {
        let store = database.open().await;
        let mut claims = Vec::new();
        for number in 0..8 {
            let person = person(&format!("p{number}"));
            claims.push(store.claim_key(&person, &key(1), "", NOW).await.unwrap().code);
        }
        let mut tasks = JoinSet::new();
        for code in claims {
            let store = store.clone();
            tasks.spawn(async move { store.confirm_key(&code, key(1).fingerprint(), NOW).await.is_ok() });
        }
        assert_eq!(tasks.join_all().await.into_iter().filter(|won| *won).count(), 1);
        assert_eq!(store.list_keys(None, NOW).await.unwrap().len(), 1);
    });
}

#[test]
fn a_change_is_seen_by_another_process_within_a_second_and_a_refusal_is_none() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let mut changes = there.changes(Topic::Keys);
        let second = Duration::from_secs(1);
        here.add_key(&person("alice"), &key(1), "", NOW).await.unwrap();
        timeout(second, changes.changed()).await.expect("a key was added").unwrap();
        here.remove_key(&person("alice"), key(1).fingerprint()).await.unwrap();
        timeout(second, changes.changed()).await.expect("a key was removed").unwrap();

        assert!(here.confirm_key("ABCDEFGH", key(1).fingerprint(), NOW).await.is_err());
        here.begin_session(&begin("a", 0)).await.unwrap();
        timeout(second, changes.changed()).await.expect_err("nothing changed");

        let mut own = here.changes(Topic::Keys);
        own.mark_unchanged();
        here.add_key(&person("alice"), &key(1), "", NOW).await.unwrap();
        assert!(own.has_changed().unwrap(), "one's own change is seen at once");
    });
}

#[test]
fn keys_reach_the_world_within_a_second() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let (facts, mut worlds) = ledger::start(fairlead_model::World::default());
        let feed = tokio::spawn(feed_rows(there, facts));
        let now = fairlead_server::clock::now();
        here.add_key(&person("alice"), &key(1), "", now).await.unwrap();
        let known = worlds.wait_for(|world| world.person_of(key(1).fingerprint()).is_some());
        timeout(Duration::from_secs(1), known).await.expect("the key is known").unwrap();
        here.remove_key(&person("alice"), key(1).fingerprint()).await.unwrap();
        let gone = worlds.wait_for(|world| world.person_of(key(1).fingerprint()).is_none());
        timeout(Duration::from_secs(1), gone).await.expect("the key is gone").unwrap();
        feed.abort();
    });
}

#[test]
fn a_record_that_the_database_never_takes_is_told_from_one_that_waits() {
    on_both(|database| async move {
        let store = database.open().await;
        let mut bad = begin("bad", 0);
        bad.client = "SSH-2.0-\0".to_owned();
        let written = store.write_records(&[Record::Begin(bad)]).await;
        let refused = matches!(written, Err(Unwritten::Refused(_)));
        assert_eq!(refused, database.url().starts_with("postgres"), "{written:?}");
    });
}
