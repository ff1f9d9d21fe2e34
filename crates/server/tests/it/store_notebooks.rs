//! Troubles, switches and asks, told to both databases.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::{Fact, Label, NotebookId, Trouble, World};
use fairlead_server::ledger;
use fairlead_server::serve::feed_rows;
use fairlead_server::store::asks::{ASK_SECONDS, AskKind};
use fairlead_server::store::switches::SwitchRow;
use fairlead_server::store::{Store, Topic};
use tokio::time::timeout;

use crate::databases::on_both;
use crate::rows::{NOW, person};

/// By the notebook's name, in team-a.
fn troubles(all: &[(&str, &[Trouble])]) -> BTreeMap<NotebookId, BTreeSet<Trouble>> {
    all.iter().map(|(name, troubles)| (id(name), troubles.iter().copied().collect())).collect()
}

fn id(name: &str) -> NotebookId {
    NotebookId::parse("team-a", name).unwrap()
}

fn label(name: &str) -> Label {
    Label::parse(name).unwrap()
}

/// What somebody writes who has the database and not the server.
async fn sql(url: &str, text: &'static str) -> Vec<i64> {
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(url).await.unwrap();
    let rows = sqlx::query_scalar(text).fetch_all(&pool).await.unwrap();
    pool.close().await;
    rows
}

#[test]
fn troubles_are_replaced_by_their_difference_and_keep_their_time() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let mut changes = there.changes(Topic::Notebooks);
        let second = Duration::from_secs(1);
        let first = troubles(&[("ml", &[Trouble::NoSshd, Trouble::SecretFrozen]), ("gpu", &[Trouble::SecretTaken])]);
        here.set_troubles(&first, NOW).await.unwrap();
        timeout(second, changes.changed()).await.expect("there are some").unwrap();
        assert_eq!(there.troubles_fact().await.unwrap(), Fact::Troubles(first.clone()));
        here.set_troubles(&first, NOW.plus_seconds(1)).await.unwrap();
        timeout(second, changes.changed()).await.expect_err("nothing changed");

        let second = troubles(&[("ml", &[Trouble::NoSshd]), ("new", &[Trouble::SecretLeftover])]);
        here.set_troubles(&second, NOW.plus_seconds(2)).await.unwrap();
        assert_eq!(here.troubles_fact().await.unwrap(), Fact::Troubles(second));
        let since = sql(database.url(), "select since from troubles order by notebook").await;
        assert_eq!(since, [NOW.0, NOW.plus_seconds(2).0]);
        here.set_troubles(&BTreeMap::new(), NOW).await.unwrap();
        assert_eq!(here.troubles_fact().await.unwrap(), Fact::Troubles(BTreeMap::new()));
    });
}

#[test]
fn what_does_not_parse_is_left_out_and_goes_with_the_next_troubles() {
    on_both(|database| async move {
        let store = database.open().await;
        sql(database.url(), "insert into troubles values ('team-a', 'ml', 'no-such-word', 1)").await;
        sql(database.url(), "insert into troubles values ('Team A', 'ml', 'no-sshd', 1)").await;
        assert_eq!(store.troubles_fact().await.unwrap(), Fact::Troubles(BTreeMap::new()));
        store.set_troubles(&BTreeMap::new(), NOW).await.unwrap();
        assert!(sql(database.url(), "select since from troubles").await.is_empty());
    });
}

#[test]
fn ssh_is_switched_off_and_on_again() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let mut changes = there.changes(Topic::Notebooks);
        let (team, alice, bob) = (label("team-a"), person("alice"), person("bob"));
        assert!(here.switch_off(&team, &alice, NOW).await.unwrap());
        timeout(Duration::from_secs(1), changes.changed()).await.expect("it is off").unwrap();
        assert!(!here.switch_off(&team, &bob, NOW.plus_seconds(1)).await.unwrap(), "it was off");
        let row = SwitchRow { namespace: team.clone(), person: alice, at: NOW };
        assert_eq!(there.list_switches().await.unwrap(), [row]);
        let mut world = World::default();
        world.apply(there.switches_fact().await.unwrap());
        assert!(world.is_switched_off(&team) && !world.is_switched_off(&label("team-b")));
        // A switch counts whoever it was.
        sql(database.url(), "insert into switches values ('team-b', 'not a person', 1)").await;
        world.apply(there.switches_fact().await.unwrap());
        assert!(world.is_switched_off(&label("team-b")) && there.list_switches().await.unwrap().len() == 1);

        assert!(here.switch_on(&team).await.unwrap());
        timeout(Duration::from_secs(1), changes.changed()).await.expect("it is on").unwrap();
        assert!(!here.switch_on(&team).await.unwrap(), "it was on");
    });
}

#[test]
fn an_ask_is_open_until_its_first_answer() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let mut changes = there.changes(Topic::Asks);
        let alice = person("alice");
        let ask = here.ask(AskKind::Stop, &id("ml"), &alice, NOW).await.unwrap();
        timeout(Duration::from_secs(1), changes.changed()).await.expect("somebody asks").unwrap();
        let open = there.open_asks(NOW).await.unwrap();
        let [only] = open.as_slice() else { panic!("{open:?}") };
        assert_eq!((&only.id, only.kind, &only.notebook, &only.person), (&ask, AskKind::Stop, &id("ml"), &alice));
        assert_eq!(only.asked, NOW);
        assert_eq!(here.ask_outcome(&ask).await.unwrap(), Some(None));
        assert!(there.answer(&ask, "done", NOW).await.unwrap());
        assert!(!there.answer(&ask, "denied: viewer", NOW).await.unwrap(), "it has an answer");
        assert!(!there.answer("nonsense", "done", NOW).await.unwrap());
        assert_eq!(here.ask_outcome(&ask).await.unwrap(), Some(Some("done".to_owned())));
        assert_eq!(here.ask_outcome("nonsense").await.unwrap(), None);
        assert!(here.open_asks(NOW).await.unwrap().is_empty());
    });
}

#[test]
fn a_notebook_has_one_open_ask_of_each_kind_and_the_last_word_counts() {
    on_both(|database| async move {
        let store = database.open().await;
        let ask = async |kind, name, who, seconds| {
            store.ask(kind, &id(name), &person(who), NOW.plus_seconds(seconds)).await.unwrap()
        };
        let open = async |name: &str| -> Vec<String> {
            let open = store.open_asks(NOW.plus_seconds(4)).await.unwrap();
            open.into_iter().filter(|ask| ask.notebook == id(name)).map(|ask| ask.id).collect()
        };
        let stop = ask(AskKind::Stop, "ml", "alice", 0).await;
        assert_eq!(ask(AskKind::Stop, "ml", "alice", 1).await, stop);
        assert_eq!(ask(AskKind::Stop, "ml", "bob", 1).await, stop);
        assert_ne!(ask(AskKind::Stop, "gpu", "alice", 1).await, stop);
        let start = ask(AskKind::Start, "ml", "bob", 2).await;
        assert_eq!(ask(AskKind::Start, "ml", "alice", 2).await, start);
        assert_eq!(open("ml").await, [stop.as_str(), start.as_str()]);
        // What came between is over.
        assert_eq!(ask(AskKind::Stop, "ml", "alice", 3).await, stop);
        assert_eq!(store.ask_outcome(&start).await.unwrap(), Some(Some("superseded".to_owned())));
        assert_eq!(open("ml").await, [stop.as_str()]);
        let two = [ask(AskKind::Stop, "new", "alice", 4).await, ask(AskKind::Start, "new", "alice", 4).await];
        assert_eq!(open("new").await, two, "in their order");
        // An answered one is over, and so is one that is too old.
        store.answer(&stop, "done", NOW).await.unwrap();
        let again = ask(AskKind::Stop, "ml", "alice", 5).await;
        assert_ne!(again, stop);
        assert_ne!(ask(AskKind::Stop, "ml", "alice", 6 + ASK_SECONDS).await, again);
    });
}

#[test]
fn who_asks_for_much_that_is_not_done_is_refused_and_others_are_not() {
    on_both(|database| async move {
        let store = database.open().await;
        let ask = async |kind, name: &str, who, seconds| {
            store.ask(kind, &id(name), &person(who), NOW.plus_seconds(seconds)).await
        };
        let mut taken = 0;
        for number in 0..100 {
            let kind = if number % 2 == 0 { AskKind::Stop } else { AskKind::Start };
            taken += usize::from(ask(kind, &format!("n{}", number / 2), "alice", 0).await.is_ok());
        }
        assert_eq!(taken, 40);
        ask(AskKind::Stop, "n50", "bob", 0).await.unwrap();
        ask(AskKind::Stop, "n0", "alice", 0).await.unwrap();
        // Who changes their mind again and again leaves no more rows than who asks for much.
        let mut starts = BTreeSet::new();
        for _ in 0..100 {
            for kind in [AskKind::Stop, AskKind::Start] {
                if let Ok(id) = ask(kind, "ml", "carol", 0).await {
                    starts.insert(id);
                }
            }
        }
        assert_eq!(starts.len(), 41, "a start after the last stop is taken");
        // In time there is room again.
        ask(AskKind::Stop, "n60", "alice", ASK_SECONDS + 1).await.unwrap();
        ask(AskKind::Start, "ml", "carol", ASK_SECONDS + 1).await.unwrap();
    });
}

#[test]
fn an_ask_that_nobody_answers_expires_and_answered_ones_go_in_time() {
    on_both(|database| async move {
        let store = database.open().await;
        let old = store.ask(AskKind::Start, &id("ml"), &person("alice"), NOW).await.unwrap();
        let new = store.ask(AskKind::Start, &id("gpu"), &person("alice"), NOW.plus_seconds(1)).await.unwrap();
        sql(database.url(), "insert into asks values ('odd', 'explode', 'team-a', 'ml', 'alice', 1, null, null)").await;
        let ids = async |store: &Store, seconds| -> Vec<String> {
            let open = store.open_asks(NOW.plus_seconds(seconds)).await.unwrap();
            open.into_iter().map(|ask| ask.id).collect()
        };
        assert_eq!(ids(&store, ASK_SECONDS).await, [old.clone(), new.clone()]);
        assert_eq!(ids(&store, ASK_SECONDS + 1).await, [new.as_str()]);
        for expired in [&old, "odd"] {
            assert_eq!(store.ask_outcome(expired).await.unwrap(), Some(Some("expired".to_owned())), "{expired}");
        }
        assert_eq!(store.prune(NOW.plus_seconds(ASK_SECONDS + 1)).await.unwrap(), 1, "the odd one");
        assert_eq!(store.prune(NOW.plus_seconds(ASK_SECONDS + 2)).await.unwrap(), 1);
        assert_eq!(store.ask_outcome(&old).await.unwrap(), None);
        assert_eq!(ids(&store, ASK_SECONDS + 1).await, [new], "an open one stays");
    });
}

#[test]
fn switches_and_troubles_reach_the_world_within_a_second() {
    on_both(|database| async move {
        let (here, there) = (database.open().await, database.open().await);
        let (facts, mut worlds) = ledger::start(World::default());
        let feed = tokio::spawn(feed_rows(there, facts));
        let second = Duration::from_secs(1);
        timeout(second, worlds.wait_for(|world| world.knows_keys() && world.knows_switches())).await.unwrap().unwrap();
        here.switch_off(&label("team-a"), &person("root"), NOW).await.unwrap();
        let off = worlds.wait_for(|world| world.is_switched_off(&label("team-a")));
        timeout(second, off).await.expect("it is off").unwrap();
        here.set_troubles(&troubles(&[("ml", &[Trouble::NoSshd])]), NOW).await.unwrap();
        let known = worlds.wait_for(|world| world.troubles(&id("ml")).eq([Trouble::NoSshd]));
        timeout(second, known).await.expect("the trouble is known").unwrap();
        feed.abort();
    });
}
