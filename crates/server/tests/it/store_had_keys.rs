//! Who has ever had a key has no first one again, whatever was removed: told to both databases.

use crate::databases::on_both;
use crate::rows::{NOW, key, person};
use crate::store_claims::{BOTH, OLDER, OWN, claims, counts, keys_that_count, own, signed, still};

#[test]
fn whoever_has_ever_had_a_key_has_no_first_one_again() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, bob, carol, dave) = (person("alice"), person("bob"), person("carol"), person("dave"));
        let claim = claims(&store, &alice, &key(1)).await;
        own(&store, &claim, &key(1)).await.unwrap();
        store.add_key(&bob, &key(2), "", NOW).await.unwrap();
        let claim = store.claim_key(&carol, &key(3), "", NOW).await.unwrap();
        own(&store, &claim, &key(3)).await.unwrap();
        // Claimed while it would have been a first one, and not proved before all was removed.
        let early = claims(&store, &dave, &key(5)).await;
        store.add_key(&dave, &key(4), "", NOW).await.unwrap();
        for (who, number) in [(&alice, 1), (&bob, 2), (&carol, 3), (&dave, 4)] {
            assert!(store.remove_key(who, key(number).fingerprint()).await.unwrap());
        }
        assert_eq!(keys_that_count(&store, NOW).await, 0);
        assert_eq!(own(&store, &early, &key(5)).await.unwrap(), still(&dave, &key(5), OLDER));
        for (who, number) in [(&alice, 11), (&bob, 12), (&carol, 13), (&dave, 14)] {
            let claim = claims(&store, who, &key(number)).await;
            assert_eq!(claim.needs, BOTH, "{who}");
            assert_eq!(own(&store, &claim, &key(number)).await.unwrap(), still(who, &key(number), OLDER));
        }
        assert_eq!(claims(&store, &person("erin"), &key(15)).await.needs, OWN);
        // An admin lets somebody in again, and that key approves.
        let claim = claims(&store, &alice, &key(16)).await;
        own(&store, &claim, &key(16)).await.unwrap();
        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        assert_eq!(signed(&store, &claim, &key(1), &alice).await.unwrap(), counts(&alice, &key(16)));
    });
}

#[test]
fn a_database_from_before_knows_who_has_had_a_key() {
    on_both(|database| async move {
        let store = database.open().await;
        let (alice, bob) = (person("alice"), person("bob"));
        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        store.add_key(&alice, &key(2), "", NOW).await.unwrap();
        claims(&store, &bob, &key(3)).await;
        drop(store);
        sqlx::any::install_default_drivers();
        let pool = sqlx::AnyPool::connect(database.url()).await.unwrap();
        for sql in ["drop table had_keys", "delete from _sqlx_migrations where version = 7"] {
            sqlx::query(sql).execute(&pool).await.unwrap();
        }
        pool.close().await;
        let store = database.open().await;
        for number in [1, 2] {
            store.remove_key(&alice, key(number).fingerprint()).await.unwrap();
        }
        assert_eq!(claims(&store, &alice, &key(4)).await.needs, BOTH);
        assert_eq!(claims(&store, &bob, &key(5)).await.needs, OWN, "a claim is no key that somebody has had");
    });
}
