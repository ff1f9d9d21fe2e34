//! The story of looking for sessions and of asking for their end, told to both databases.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeMap;
use std::time::Duration;

use fairlead_model::{Label, NotebookId, Person, PublicKey, Time};
use fairlead_server::store::records::Record;
use fairlead_server::store::sessions::{Scope, SessionBegin, SessionQuery};
use fairlead_server::store::{Store, Topic};
use sqlx::Connection as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::databases::{Database, on_both};
use crate::rows::{NOW, begin, end, key, person};

/// A session of somebody's in some notebook.
fn of(id: &str, seconds: i64, who: &str, space: &str, notebook: &str) -> SessionBegin {
    let notebook = NotebookId::parse(space, notebook).unwrap();
    SessionBegin { person: person(who), notebook, ..begin(id, seconds) }
}

fn query<'a>(scope: Scope<'a>, text: &'a str) -> SessionQuery<'a> {
    SessionQuery { scope, text, live_only: false, before: None, limit: 100 }
}

async fn found(store: &Store, query: &SessionQuery<'_>) -> Vec<String> {
    store.find_sessions(query).await.unwrap().sessions.into_iter().map(|(begin, _)| begin.id).collect()
}

async fn used(store: &Store, who: &Person, key: &PublicKey) -> Option<i64> {
    let rows = store.list_keys(Some(who), NOW).await.unwrap();
    let row = rows.iter().find(|row| row.public == *key).unwrap();
    row.used.map(|used| (used.0 - NOW.0) / 1000)
}

#[test]
fn the_newest_session_of_a_notebook_and_use_of_a_key_stay_whatever_is_written_late() {
    on_both(|database| async move {
        let store = database.open().await;
        let alice = person("alice");
        store.add_key(&alice, &key(1), "", NOW).await.unwrap();
        assert_eq!(used(&store, &alice, &key(1)).await, None);
        let last = async || store.last_sessions().await.unwrap();
        assert_eq!(last().await, BTreeMap::new());
        store.begin_session(&of("a", 10, "bob", "team-a", "bert")).await.unwrap();
        store.write_records(&[Record::Begin(begin("b", 20)), Record::Begin(begin("c", 15))]).await.unwrap();
        store.write_records(&[Record::Begin(begin("d", 5))]).await.unwrap();
        store.begin_session(&of("e", 1, "bob", "team-a", "bert")).await.unwrap();
        store.begin_session(&of("f", 2, "bob", "team-b", "ernie")).await.unwrap();
        let (bert, ernie) = (begin("", 0).notebook, NotebookId::parse("team-b", "ernie").unwrap());
        let expected = [(bert, (NOW.plus_seconds(20), alice.clone())), (ernie, (NOW.plus_seconds(2), person("bob")))];
        assert_eq!(last().await, BTreeMap::from(expected));
        assert_eq!(used(&store, &alice, &key(1)).await, Some(20));
        let sign_in = |seconds| Record::SignIn(alice.clone(), key(1).fingerprint().clone(), NOW.plus_seconds(seconds));
        store.write_records(&[sign_in(30), sign_in(25)]).await.unwrap();
        store.write_records(&[sign_in(29)]).await.unwrap();
        assert_eq!(used(&store, &alice, &key(1)).await, Some(30));

        // What is kept of a session goes when it does, and not before.
        store.prune(NOW.plus_seconds(100)).await.unwrap();
        assert_eq!(last().await.len(), 2);
        for id in ["b", "f"] {
            store.end_session(&end(id, 50, "closed")).await.unwrap();
        }
        store.prune(NOW.plus_seconds(100)).await.unwrap();
        assert_eq!(last().await.len(), 0);
    });
}

#[test]
fn gateways_that_write_the_same_notebooks_and_keys_do_not_wait_for_each_other() {
    on_both(|database| async move {
        let store = database.open().await;
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            store.add_key(&person("alice"), &key(number), "", NOW).await.unwrap();
        }
        for task in 0..4_i64 {
            let store = store.clone();
            tasks.spawn(async move {
                for round in 0..10 {
                    let record = |number: u8| {
                        let mut begin = of(&format!("{task}-{round}-{number}"), round, "alice", "team-a", "bert");
                        begin.key = key(number).fingerprint().clone();
                        begin.notebook = NotebookId::parse("team-a", &format!("n{number}")).unwrap();
                        Record::Begin(begin)
                    };
                    let order = |n: u8| if task % 2 == 0 { n } else { 7 - n };
                    let records: Vec<Record> = (0..8).map(|n| record(order(n))).collect();
                    store.write_records(&records).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        assert_eq!(store.last_sessions().await.unwrap().len(), 8);
    });
}

#[test]
fn sessions_are_found_by_whose_they_are() {
    on_both(|database| async move {
        let store = database.open().await;
        for session in [
            of("1", 1, "alice", "team-a", "bert"),
            of("2", 2, "bob", "team-a", "bert"),
            of("3", 3, "bob", "team-b", "ernie"),
            of("4", 4, "alice", "team-b", "ernie"),
            of("5", 5, "carol", "team-a-2", "bert"),
        ] {
            store.begin_session(&session).await.unwrap();
        }
        let (alice, label) = (person("alice"), |name| (Label::parse(name).unwrap(), NOW));
        let of = async |namespaces: &[(Label, Time)]| {
            found(&store, &query(Scope::Profiles { person: &alice, namespaces }, "")).await
        };
        assert_eq!(found(&store, &query(Scope::Person(&alice), "")).await, ["4", "1"]);
        assert_eq!(of(&[]).await, ["4", "1"]);
        assert_eq!(of(&[label("team-a")]).await, ["4", "2", "1"]);
        assert_eq!(of(&[label("team-a-2"), label("team-b")]).await, ["5", "4", "3", "1"]);
        assert_eq!(of(&[label("team")]).await, ["4", "1"]);
        // Who had the profile's name before is not looked at; one's own sessions are.
        let since = |seconds| (label("team-a").0, NOW.plus_seconds(seconds));
        assert_eq!(of(&[since(2)]).await, ["4", "2", "1"]);
        assert_eq!(of(&[since(3)]).await, ["4", "1"]);
        assert_eq!(found(&store, &query(Scope::All, "")).await, ["5", "4", "3", "2", "1"]);
    });
}

#[test]
fn sessions_are_found_by_a_part_of_what_they_show_and_by_nothing_that_is_a_pattern() {
    on_both(|database| async move {
        let store = database.open().await;
        store.begin_session(&of("1", 1, "Alice", "team-a", "bert")).await.unwrap();
        store.begin_session(&of("2", 2, "b_b%!", "team-b", "ernie")).await.unwrap();
        store.begin_session(&of("3", 3, "bob'--", "team-b", "ernie")).await.unwrap();
        store.end_session(&end("1", 9, "denied: stranger")).await.unwrap();
        let all = ["3", "2", "1"];
        for (text, ids) in [
            ("", &all[..]),
            ("aLICE@", &all[2..]),
            ("TEAM-B/ern", &all[..2]),
            ("denied: STR", &all[2..]),
            ("192.0.2.1:5", &all[..]),
            ("_", &all[1..2]),
            ("%", &all[1..2]),
            ("!", &all[1..2]),
            ("b_b%!@", &all[1..2]),
            ("'--", &all[..1]),
            ("\\", &[]),
            ("' or 1=1 --", &[]),
            ("\0", &[]),
            ("OpenSSH", &[]),
        ] {
            assert_eq!(found(&store, &query(Scope::All, text)).await, ids, "{text:?}");
        }
        let huge = "%".repeat(1 << 20);
        assert_eq!(found(&store, &query(Scope::All, &huge)).await, [""; 0]);
        // Whoever may not see a session does not find it by its words either.
        assert_eq!(found(&store, &query(Scope::Person(&person("carol")), "team")).await, [""; 0]);
    });
}

#[test]
fn pages_of_sessions_miss_none_and_repeat_none() {
    on_both(|database| async move {
        let store = database.open().await;
        for number in 0..20 {
            // Several at one moment.
            store.begin_session(&begin(&format!("{number:02}"), number / 3)).await.unwrap();
        }
        store.end_session(&end("05", 9, "closed")).await.unwrap();
        let mut query = SessionQuery { limit: 7, ..query(Scope::All, "") };
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = store.find_sessions(&query).await.unwrap();
            seen.extend(page.sessions.into_iter().map(|(begin, _)| begin.id));
            pages += 1;
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        let all: Vec<String> = (0..20).rev().map(|number| format!("{number:02}")).collect();
        assert_eq!((seen, pages), (all, 3));
        query = SessionQuery { before: None, live_only: true, limit: 100, ..query };
        assert_eq!(found(&store, &query).await.len(), 19);
        assert_eq!(store.live_sessions().await.unwrap().len(), 19);
        assert_eq!(found(&store, &SessionQuery { limit: -1, ..query }).await, [""; 0]);
        assert_eq!(store.session("05").await.unwrap(), Some((begin("05", 1), Some(end("05", 9, "closed")))));
        assert_eq!(store.session("06").await.unwrap(), Some((begin("06", 2), None)));
        for id in ["", "x", "\0", "%"] {
            assert_eq!(store.session(id).await.unwrap(), None);
        }
    });
}

#[test]
fn a_row_that_is_none_hides_no_older_ones() {
    on_both(|database| async move {
        let store = database.open().await;
        for number in 0..9 {
            store.begin_session(&begin(&number.to_string(), number)).await.unwrap();
        }
        let mut connection = sqlx::AnyConnection::connect(database.url()).await.unwrap();
        sqlx::query("update sessions set person = '' where id in ('6', '7')").execute(&mut connection).await.unwrap();
        let mut query = SessionQuery { limit: 2, ..query(Scope::All, "") };
        let mut seen = Vec::new();
        loop {
            let page = store.find_sessions(&query).await.unwrap();
            seen.extend(page.sessions.into_iter().map(|(begin, _)| begin.id));
            query.before = page.next;
            if query.before.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["8", "5", "4", "3", "2", "1", "0"]);
    });
}

#[tokio::test]
async fn words_are_looked_for_in_the_newest_sessions_alone() {
    let database = Database::sqlite();
    let store = database.open().await;
    let alice = person("alice");
    let records: Vec<Record> =
        (0..20_001).map(|number| Record::Begin(begin(&format!("{number:06}"), number))).collect();
    for batch in records.chunks(1000) {
        store.write_records(batch).await.unwrap();
    }
    for (scope, oldest) in [
        (Scope::All, "000001"),
        (Scope::Person(&alice), "000001"),
        // Each arm has half.
        (Scope::Profiles { person: &alice, namespaces: &[(Label::parse("team-a").unwrap(), NOW)] }, "010001"),
    ] {
        let all = found(&store, &SessionQuery { limit: 30_000, ..query(scope, "alice") }).await;
        assert_eq!(all.last().unwrap(), oldest);
    }
    assert_eq!(found(&store, &SessionQuery { limit: 30_000, ..query(Scope::All, "") }).await.len(), 20_001);
}

#[test]
fn the_end_of_an_open_session_is_asked_for_and_its_gateway_hears_of_it_within_a_second() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        for id in ["a", "b", "c"] {
            here.begin_session(&begin(id, 0)).await.unwrap();
        }
        here.end_session(&end("c", 1, "closed")).await.unwrap();
        let mut asks = there.changes(Topic::Asks);
        let (alice, bob) = (person("alice"), person("bob"));
        for id in ["c", "unknown", "", "\0", "%"] {
            assert!(!here.ask_end(id, &alice, NOW).await.unwrap());
        }
        timeout(Duration::from_secs(1), asks.changed()).await.expect_err("nothing was asked");
        assert!(here.ask_end("a", &alice, NOW).await.unwrap());
        timeout(Duration::from_secs(1), asks.changed()).await.expect("an end was asked for").unwrap();
        assert!(here.ask_end("a", &bob, NOW).await.unwrap());
        assert_eq!(there.ends_asked("gateway-1").await.unwrap(), [("a".to_owned(), alice)]);
        assert_eq!(there.ends_asked("gateway-2").await.unwrap(), []);
        here.end_session(&end("a", 2, "ended by alice@example.com")).await.unwrap();
        assert_eq!(there.ends_asked("gateway-1").await.unwrap(), []);
    });
}

#[test]
fn what_a_session_has_carried_is_known_while_it_is_open_and_never_after_its_end() {
    on_both(|database| async move {
        let store = database.open().await;
        for id in ["a", "b"] {
            store.begin_session(&begin(id, 0)).await.unwrap();
        }
        let noted = |up| [("a".to_owned(), up, 2), ("b".to_owned(), up, 4), ("unknown".to_owned(), 1, 1)];
        store.note_bytes(&noted(1)).await.unwrap();
        let expected = BTreeMap::from([("a".to_owned(), (1, 2)), ("b".to_owned(), (1, 4))]);
        assert_eq!(store.live_bytes().await.unwrap(), expected);
        store.end_session(&end("a", 9, "closed")).await.unwrap();
        store.note_bytes(&noted(3)).await.unwrap();
        assert_eq!(store.session("a").await.unwrap(), Some((begin("a", 0), Some(end("a", 9, "closed")))));
        assert_eq!(store.live_bytes().await.unwrap(), BTreeMap::from([("b".to_owned(), (3, 4))]));
    });
}
