//! The story of keys that an older one has to approve, and of keys that end, told to both databases.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::time::Duration;

use fairlead_model::{Fact, Person, PublicKey, Time};
use fairlead_server::clock;
use fairlead_server::ledger;
use fairlead_server::serve::feed_rows;
use fairlead_server::store::Store;
use fairlead_server::store::keys::{CLAIM_SECONDS, Claim, ClaimOptions, Confirmed, KeyRefused, Needs};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::databases::on_both;
use crate::rows::{NOW, key, person};

pub(crate) const OWN: Needs = Needs { own: true, older: false };
pub(crate) const OLDER: Needs = Needs { own: false, older: true };
pub(crate) const BOTH: Needs = Needs { own: true, older: true };
const NOTHING: Needs = Needs { own: false, older: false };

/// A claim as a page makes it that shares its origin with notebooks.
pub(crate) async fn claims(store: &Store, who: &Person, key: &PublicKey) -> Claim {
    store.claim_key_with(who, key, "", ClaimOptions { ends: None, shared_origin: true }, NOW).await.unwrap()
}

/// Signed in with a claimed key.
pub(crate) async fn own(store: &Store, claim: &Claim, key: &PublicKey) -> Result<Confirmed, KeyRefused> {
    store.confirm_key(&claim.code, key.fingerprint(), NOW).await
}

/// Signed in as a person, with a key that is said to be theirs: looks which key the code is of, and approves that one.
pub(crate) async fn signed(
    store: &Store,
    claim: &Claim,
    with: &PublicKey,
    who: &Person,
) -> Result<Confirmed, KeyRefused> {
    signed_at(store, claim, with, who, NOW).await
}

async fn signed_at(
    store: &Store,
    claim: &Claim,
    with: &PublicKey,
    who: &Person,
    now: Time,
) -> Result<Confirmed, KeyRefused> {
    let with = with.fingerprint();
    match store.claim_by_code(&claim.code, with, who, now).await {
        Ok(row) => {
            let done = store.approve_key(&claim.code, row.public.fingerprint(), with, who, now).await;
            assert!(done.is_ok(), "it was shown to somebody who may not approve it: {done:?}");
            done
        }
        Err(refused) => {
            // Nor does it work for whoever knows the fingerprint.
            for row in store.list_keys(None, NOW).await.unwrap() {
                let key = row.public.fingerprint();
                is_bad_code(&store.approve_key(&claim.code, key, with, who, now).await);
            }
            Err(refused)
        }
    }
}

pub(crate) fn counts(person: &Person, key: &PublicKey) -> Confirmed {
    Confirmed::Counts(person.clone(), key.fingerprint().clone())
}

pub(crate) fn still(person: &Person, key: &PublicKey, needs: Needs) -> Confirmed {
    Confirmed::StillNeeds(person.clone(), key.fingerprint().clone(), needs)
}

#[track_caller]
fn is_bad_code(confirmed: &Result<Confirmed, KeyRefused>) {
    assert!(matches!(confirmed, Err(KeyRefused::BadCode)), "{confirmed:?}");
}

pub(crate) async fn keys_that_count(store: &Store, now: Time) -> usize {
    let Fact::Keys(keys, _) = store.key_fact(now).await.unwrap() else { panic!("not keys") };
    keys.len()
}

#[test]
fn on_a_shared_origin_the_first_key_proves_itself_and_a_further_one_takes_an_older_one_too_in_any_order() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        let first = claims(&store, &alice, &key(1)).await;
        assert_eq!(first.needs, OWN);
        assert_eq!(own(&store, &first, &key(1)).await.unwrap(), counts(&alice, &key(1)));

        let second = claims(&store, &alice, &key(2)).await;
        assert_eq!(second.needs, BOTH);
        assert_eq!(own(&store, &second, &key(2)).await.unwrap(), still(&alice, &key(2), OLDER));
        let rows = store.list_keys(Some(&alice), NOW).await.unwrap();
        let needs = |public| rows.iter().find(|row| row.public == public).map(|row| (row.needs, row.confirmed));
        assert_eq!((needs(key(1)), needs(key(2))), (Some((NOTHING, Some(NOW))), Some((OLDER, None))));
        assert_eq!(keys_that_count(&store, NOW).await, 1);
        assert_eq!(signed(&store, &second, &key(1), &alice).await.unwrap(), counts(&alice, &key(2)));

        let third = claims(&store, &alice, &key(3)).await;
        assert_eq!(signed(&store, &third, &key(2), &alice).await.unwrap(), still(&alice, &key(3), OWN));
        assert_eq!(own(&store, &third, &key(3)).await.unwrap(), counts(&alice, &key(3)));
        assert_eq!(keys_that_count(&store, NOW).await, 3);

        // A new claim of the same key begins anew.
        let fourth = claims(&store, &alice, &key(4)).await;
        own(&store, &fourth, &key(4)).await.unwrap();
        let again = claims(&store, &alice, &key(4)).await;
        assert_eq!(signed(&store, &again, &key(1), &alice).await.unwrap(), still(&alice, &key(4), OWN));
    });
}

#[test]
fn elsewhere_the_key_itself_is_enough_and_an_older_one_alone_never_is() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        let claim = store.claim_key(&alice, &key(2), "", NOW).await.unwrap();
        assert_eq!(claim.needs, OWN);
        assert_eq!(signed(&store, &claim, &key(1), &alice).await.unwrap(), still(&alice, &key(2), OWN));
        assert_eq!(keys_that_count(&store, NOW).await, 1);
        assert_eq!(own(&store, &claim, &key(2)).await.unwrap(), counts(&alice, &key(2)));
    });
}

#[test]
fn a_claim_is_approved_by_a_key_of_the_same_person_that_counts_now_and_by_nothing_else() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, mallory) = (person("alice"), person("mallory"));
        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        store.add_key(&mallory, &key(2), "", NOW).await.unwrap();
        store.add_key_until(&alice, &key(3), "", Some(NOW), NOW.plus_seconds(-1)).await.unwrap();
        let claim = claims(&store, &alice, &key(4)).await;
        let other = claims(&store, &alice, &key(5)).await;
        own(&store, &claim, &key(4)).await.unwrap();

        // Its own proof is no approval, also not under a person's name.
        assert_eq!(own(&store, &claim, &key(4)).await.unwrap(), still(&alice, &key(4), OLDER));
        is_bad_code(&signed(&store, &claim, &key(4), &alice).await);
        // Another claim that has proved itself is no older key.
        own(&store, &other, &key(5)).await.unwrap();
        is_bad_code(&signed(&store, &claim, &key(5), &alice).await);
        // Somebody else's key, under either name; a key that has expired; the older key as if it were the claimed one.
        is_bad_code(&signed(&store, &claim, &key(2), &mallory).await);
        is_bad_code(&signed(&store, &claim, &key(2), &alice).await);
        is_bad_code(&signed(&store, &claim, &key(1), &mallory).await);
        is_bad_code(&signed(&store, &claim, &key(3), &alice).await);
        is_bad_code(&own(&store, &claim, &key(1)).await);
        // The code of one claim with the key of another.
        is_bad_code(&own(&store, &claim, &key(5)).await);
        // A third person who claims the same key, and has seen the code.
        let theirs = claims(&store, &mallory, &key(4)).await;
        is_bad_code(&signed(&store, &claim, &key(2), &mallory).await);
        assert_eq!(own(&store, &theirs, &key(4)).await.unwrap(), still(&mallory, &key(4), OLDER));
        // Too late, and with a key that was removed meanwhile.
        is_bad_code(&signed_at(&store, &claim, &key(1), &alice, claim.expires).await);
        // The code of one claim, to approve another that waits for the same.
        for key in [key(5), key(1), key(99)] {
            let wrong =
                store.approve_key(&claim.code, key.fingerprint(), self::key(1).fingerprint(), &alice, NOW).await;
            is_bad_code(&wrong);
        }
        // Looked at, it is as it was.
        let shown = store.claim_by_code(&claim.code, key(1).fingerprint(), &alice, NOW).await.unwrap();
        assert_eq!((shown.public, shown.needs, shown.confirmed), (key(4), OLDER, None));
        assert_eq!(own(&store, &claim, &key(4)).await.unwrap(), still(&alice, &key(4), OLDER));
        store.remove_key(&alice, key(1).fingerprint()).await.unwrap();
        is_bad_code(&signed(&store, &claim, &key(1), &alice).await);
        assert_eq!(keys_that_count(&store, NOW).await, 1);

        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        assert_eq!(signed(&store, &claim, &key(1), &alice).await.unwrap(), counts(&alice, &key(4)));
        // It has ended the other's claim; a code works once.
        is_bad_code(&signed(&store, &theirs, &key(2), &mallory).await);
        is_bad_code(&signed(&store, &claim, &key(1), &alice).await);
    });
}

#[test]
fn an_expired_key_does_not_make_the_next_one_a_first_and_neither_does_a_claim_from_before() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, bob, carol) = (person("alice"), person("bob"), person("carol"));
        store.add_key_until(&alice, &key(1), "", Some(NOW), NOW.plus_seconds(-1)).await.unwrap();
        assert_eq!(claims(&store, &alice, &key(2)).await.needs, BOTH);

        // Claimed before the first key was confirmed, and proved after it.
        let (early, first) = (claims(&store, &bob, &key(3)).await, claims(&store, &bob, &key(4)).await);
        assert_eq!((early.needs, first.needs), (OWN, OWN));
        own(&store, &first, &key(4)).await.unwrap();
        assert_eq!(own(&store, &early, &key(3)).await.unwrap(), still(&bob, &key(3), OLDER));
        let early = claims(&store, &carol, &key(5)).await;
        store.add_key(&carol, &key(6), "", NOW).await.unwrap();
        assert_eq!(own(&store, &early, &key(5)).await.unwrap(), still(&carol, &key(5), OLDER));
    });
}

#[test]
fn both_proofs_at_once_make_it_count_and_of_two_first_keys_one_does() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        let old = key(0);
        store.add_key(&alice, &old, "", NOW).await.unwrap();
        for number in 1..9 {
            let claim = claims(&store, &alice, &key(number)).await;
            let new = key(number);
            let (a, b) = tokio::join!(signed(&store, &claim, &old, &alice), own(&store, &claim, &new));
            let won = [a, b].into_iter().filter(|done| *done.as_ref().unwrap() == counts(&alice, &key(number)));
            assert_eq!(won.count(), 1);
        }
        let bob = person("bob");
        let mut tasks = JoinSet::new();
        for number in 20..28 {
            let (store, claim) = (store.clone(), claims(&store, &bob, &key(number)).await);
            tasks.spawn(async move { own(&store, &claim, &key(number)).await.unwrap() });
        }
        let first = tasks.join_all().await.into_iter().filter(|done| matches!(done, Confirmed::Counts(..)));
        assert_eq!(first.count(), 1);
    });
}

#[test]
fn the_last_key_stays_where_it_has_to_also_when_all_are_removed_at_once() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        for round in 0..8 {
            for number in [1, 2] {
                store.add_key(&alice, &key(number), "", NOW).await.ok();
            }
            // A claim is no key that could stay instead.
            claims(&store, &alice, &key(100 + round)).await;
            let mut tasks = JoinSet::new();
            for number in [1, 2] {
                let (store, alice) = (store.clone(), alice.clone());
                let remove = async move { store.remove_key_with(&alice, key(number).fingerprint(), Some(NOW)).await };
                tasks.spawn(remove);
            }
            let done = tasks.join_all().await;
            let kept = done.iter().filter(|done| matches!(done, Err(KeyRefused::LastKey))).count();
            assert_eq!((kept, keys_that_count(&store, NOW).await), (1, 1), "{done:?}");
        }
        assert!(store.remove_key_with(&alice, key(100).fingerprint(), Some(NOW)).await.unwrap());
        assert!(!store.remove_key_with(&alice, key(200).fingerprint(), Some(NOW)).await.unwrap());
        let bob = person("bob");
        store.add_key_until(&bob, &key(50), "", Some(NOW), NOW.plus_seconds(-1)).await.unwrap();
        // What has expired is none that could stay instead, and may go itself.
        store.add_key_until(&bob, &key(51), "", Some(NOW.plus_seconds(1)), NOW).await.unwrap();
        let last = store.remove_key_with(&bob, key(51).fingerprint(), Some(NOW)).await;
        assert!(matches!(last, Err(KeyRefused::LastKey)), "{last:?}");
        assert!(store.remove_key_with(&bob, key(50).fingerprint(), Some(NOW)).await.unwrap());
        assert!(store.remove_key_with(&bob, key(51).fingerprint(), Some(NOW.plus_seconds(1))).await.unwrap());
    });
}

#[test]
fn a_key_counts_until_it_ends_and_stays_in_the_list() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, ends) = (person("alice"), NOW.plus_seconds(90));
        let options = ClaimOptions { ends: Some(ends), shared_origin: false };
        let claim = store.claim_key_with(&alice, &key(1), "", options, NOW).await.unwrap();
        assert_eq!(claim.expires, ends, "what has ended is not to be confirmed");
        assert_eq!(store.next_key_end(NOW).await.unwrap(), None);
        own(&store, &claim, &key(1)).await.unwrap();
        store.add_key_until(&alice, &key(2), "", Some(NOW.plus_seconds(CLAIM_SECONDS)), NOW).await.unwrap();
        store.add_key(&alice, &key(3), "", NOW).await.unwrap();
        assert_eq!(store.next_key_end(NOW).await.unwrap(), Some(ends));
        assert_eq!(store.next_key_end(ends).await.unwrap(), Some(NOW.plus_seconds(CLAIM_SECONDS)));
        assert_eq!(keys_that_count(&store, Time(ends.0 - 1)).await, 3);
        assert_eq!(keys_that_count(&store, ends).await, 2);
        let rows = store.list_keys(Some(&alice), NOW.plus_seconds(1_000_000)).await.unwrap();
        let expires: BTreeSet<_> = rows.iter().map(|row| row.expires).collect();
        assert_eq!(expires, BTreeSet::from([None, Some(ends), Some(NOW.plus_seconds(CLAIM_SECONDS))]));
        // Still nobody else's.
        let again = store.add_key(&person("bob"), &key(1), "", ends).await;
        assert!(matches!(again, Err(KeyRefused::Taken)), "{again:?}");
    });
}

#[test]
fn the_end_of_a_key_reaches_the_world_within_a_second() {
    on_both(|database| async move {
        let store = database.open().await;
        let (facts, mut worlds) = ledger::start(fairlead_model::World::default());
        let feed = tokio::spawn(feed_rows(store.clone(), facts));
        let now = clock::now();
        let ends = now.plus_seconds(2);
        store.add_key_until(&person("alice"), &key(1), "", Some(ends), now).await.unwrap();
        let known = worlds.wait_for(|world| world.person_of(key(1).fingerprint()).is_some());
        timeout(Duration::from_secs(1), known).await.expect("the key is known").unwrap();
        let gone = worlds.wait_for(|world| world.person_of(key(1).fingerprint()).is_none());
        timeout(Duration::from_secs(5), gone).await.expect("the key is gone").unwrap();
        let late = clock::now().0 - ends.0;
        assert!((0..1000).contains(&late), "{late} ms late");
        feed.abort();
    });
}
