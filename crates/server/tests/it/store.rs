//! Opening, sessions, audit, epochs and the picture, told to both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use fairlead_model::{Label, Time};
use fairlead_server::store::Store;
use tokio::task::JoinSet;

use crate::databases::on_both;
use crate::rows::{NOW, begin, end, event, person};

#[test]
fn a_database_is_opened_again_and_by_several_at_once() {
    on_both(|database| async move {
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let url = database.url().to_owned();
            tasks.spawn(async move { Store::open(&url).await });
        }
        for store in tasks.join_all().await {
            store.unwrap().ping().await.unwrap();
        }
        database.open().await.save_picture("{}", NOW).await.unwrap();
        let again = database.open().await;
        assert_eq!(again.load_picture().await.unwrap(), Some(("{}".to_owned(), NOW)));
        again.save_picture("{\"a\":1}", NOW.plus_seconds(1)).await.unwrap();
        assert_eq!(again.load_picture().await.unwrap(), Some(("{\"a\":1}".to_owned(), NOW.plus_seconds(1))));
        if let Some(path) = database.url().strip_prefix("sqlite:") {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    });
}

#[tokio::test]
async fn a_file_may_have_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ä 100%41 #1").join("..").join("fairlead.db");
    Store::open(&format!("sqlite:{}", path.display())).await.unwrap();
    let path = dir.path().join("ä 100%41 #1").join("fairlead.db");
    Store::open(&format!("sqlite://{}", path.display())).await.unwrap();
    assert!(path.exists() && fs::metadata(&path).unwrap().len() > 0);
}

#[tokio::test]
async fn what_cannot_be_opened_says_so_soon_and_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "this is no database, and long enough to be told from one: ".repeat(100)).unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &std::net::TcpListener| listener.local_addr().unwrap().port();
    let refusing = format!("postgres://fairlead:hunter2@127.0.0.1:{}/x", port(&closed));
    let hanging = format!("postgres://fairlead:hunter2@127.0.0.1:{}/x", port(&silent));
    drop(closed);
    for (url, says) in [
        (refusing, "refused"),
        (hanging, "no answer within 5 s"),
        (format!("sqlite:{}/below/a.db", file.display()), "making the folder"),
        (format!("sqlite:{}", file.display()), "not a database"),
        (format!("sqlite:{}", dir.path().display()), "unable to open database file"),
        ("mysql://fairlead:hunter2@127.0.0.1/x".to_owned(), "a database is `sqlite:PATH`"),
    ] {
        let start = Instant::now();
        let error = format!("{:#}", Store::open(&url).await.unwrap_err());
        assert!(start.elapsed() < Duration::from_secs(7), "{error}");
        assert!(error.contains(says), "{error}");
        assert!(error.contains("opening the database `") && !error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_session_begins_once_and_its_first_end_stays() {
    on_both(|database| async move {
        let store = database.open().await;
        store.begin_session(&begin("a", 0)).await.unwrap();
        store.begin_session(&begin("a", 9)).await.unwrap();
        store.begin_session(&begin("b", 1)).await.unwrap();
        store.end_session(&end("a", 2, "closed")).await.unwrap();
        store.end_session(&end("a", 3, "drained")).await.unwrap();
        store.end_session(&end("unknown", 3, "closed")).await.unwrap();
        let all = [(begin("b", 1), None), (begin("a", 0), Some(end("a", 2, "closed")))];
        assert_eq!(store.list_sessions(None, 10).await.unwrap(), all);
        assert_eq!(store.list_sessions(Some(&person("alice")), 1).await.unwrap(), all[..1]);
        assert_eq!(store.list_sessions(Some(&person("bob")), 10).await.unwrap(), []);
    });
}

#[test]
fn sessions_of_a_gateway_that_went_silent_are_closed_as_lost_and_a_true_end_is_believed_later() {
    on_both(|database| async move {
        let store = database.open().await;
        store.begin_session(&begin("old", 0)).await.unwrap();
        // By a clock that is ahead of the one that ends them.
        store.begin_session(&begin("new", 200)).await.unwrap();
        let mut other = begin("other", 0);
        other.gateway = "gateway-2".to_owned();
        store.begin_session(&other).await.unwrap();
        store.beat("gateway-2", NOW).await.unwrap();
        let silent = [("gateway-1".to_owned(), None), ("gateway-2".to_owned(), Some(NOW))];
        assert_eq!(store.other_gateways("gateway-3").await.unwrap(), silent);
        assert_eq!(store.other_gateways("gateway-2").await.unwrap(), silent[..1]);

        // It came back between the look and this.
        store.beat("gateway-2", NOW.plus_seconds(-300)).await.unwrap();
        let now = NOW.plus_seconds(100);
        assert_eq!(store.close_lost_sessions("gateway-2", Some(NOW), now).await.unwrap(), 0);
        assert_eq!(store.close_lost_sessions("gateway-1", None, now).await.unwrap(), 2);
        assert_eq!(store.close_lost_sessions("gateway-1", None, now).await.unwrap(), 0);
        let ends = async |store: &Store| -> BTreeMap<String, Option<(Time, String)>> {
            let all = store.list_sessions(None, 10).await.unwrap().into_iter();
            all.map(|(begin, end)| (begin.id, end.map(|end| (end.at, end.reason)))).collect()
        };
        let closed = |at: i64, why: &str| Some((NOW.plus_seconds(at), why.to_owned()));
        let all =
            |old| [("new", closed(200, "lost")), ("old", old), ("other", None)].map(|(id, end)| (id.to_owned(), end));
        assert_eq!(ends(&store).await, all(closed(100, "lost")).into());
        // The gateway was only away from the database.
        store.end_session(&end("old", 101, "closed")).await.unwrap();
        assert_eq!(ends(&store).await, all(closed(101, "closed")).into());
    });
}

#[test]
fn old_audit_events_and_ended_sessions_go_and_open_ones_stay() {
    on_both(|database| async move {
        let store = database.open().await;
        for (word, seconds) in [("key-added", 0), ("session-cut", 99), ("key-removed", 100)] {
            store.audit(&event(word, seconds)).await.unwrap();
        }
        for (id, began) in [("open", 0), ("old", 1), ("long", 2), ("new", 100)] {
            store.begin_session(&begin(id, began)).await.unwrap();
        }
        for (id, ended) in [("old", 99), ("long", 100), ("new", 101)] {
            store.end_session(&end(id, ended, "closed")).await.unwrap();
        }
        assert_eq!(store.prune(NOW.plus_seconds(100)).await.unwrap(), 3);
        assert_eq!(store.list_audit(10).await.unwrap(), [event("key-removed", 100)]);
        let sessions = store.list_sessions(None, 10).await.unwrap().into_iter();
        assert_eq!(sessions.map(|(begin, _)| begin.id).collect::<Vec<_>>(), ["new", "long", "open"]);
        assert_eq!(store.prune(NOW.plus_seconds(100)).await.unwrap(), 0);
    });
}

#[test]
fn audit_events_come_back_newest_first() {
    on_both(|database| async move {
        let store = database.open().await;
        for (word, seconds) in [("key-added", 0), ("session-cut", 2), ("key-removed", 1)] {
            store.audit(&event(word, seconds)).await.unwrap();
        }
        let newest = [event("session-cut", 2), event("key-removed", 1)];
        assert_eq!(store.list_audit(2).await.unwrap(), newest);
    });
}

#[test]
fn an_epoch_rises_when_somebody_leaves_and_not_otherwise() {
    on_both(|database| async move {
        let store = database.open().await;
        let (a, b) = (Label::parse("team-a").unwrap(), Label::parse("team-b").unwrap());
        let people = |names: &[&str]| names.iter().map(|name| person(name)).collect::<BTreeSet<_>>();
        for (names, epoch) in [
            (&["alice"][..], 0),
            (&["alice", "bob"], 0),
            (&["alice", "bob"], 0),
            (&["bob"], 1),
            (&["bob"], 1),
            (&["carol"], 2),
            (&[], 3),
            (&["alice", "bob"], 3),
        ] {
            assert_eq!(store.note_readers(&a, &people(names)).await.unwrap(), epoch, "{names:?}");
        }
        assert_eq!(store.note_readers(&b, &people(&[])).await.unwrap(), 0);
        assert_eq!(store.epochs().await.unwrap(), BTreeMap::from([(a.clone(), 3), (b, 0)]));

        // Several replicas that note the same leave raise it once.
        let mut tasks = JoinSet::new();
        for _ in 0..8 {
            let (store, a, left) = (store.clone(), a.clone(), people(&["alice"]));
            tasks.spawn(async move { store.note_readers(&a, &left).await.unwrap() });
        }
        assert_eq!(tasks.join_all().await, [4; 8]);
    });
}
