//! What people asked for, carried out or refused by the operator; on a real API server, with the rights of the
//! manifests.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::{Duration, Instant};

use fairlead_model::Fact;
use fairlead_model::read::STOPPED;
use fairlead_server::clock;
use fairlead_server::store::asks::{ASK_SECONDS, AskKind};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::cluster::{Cluster, Options, Running, eventually, id, mounted, who};

const ANN: &str = "ann@example.com";

/// team-a of ann, with carol who only looks, and the notebook ml.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", ANN).await;
    cluster.contributor("team-a", "user-carol", "carol@example.com", "view").await;
    cluster.notebook("team-a", "ml").await;
    cluster
}

/// An operator that has seen all of it.
async fn operating(cluster: &Cluster) -> Running {
    let mut running = cluster.operating(Options::default()).await;
    let people = |world: &fairlead_model::World| world.people_of(&id("team-a", "ml").namespace).len() == 2;
    running.sees("its people and its notebook", |world| people(world) && world.notebooks().count() == 1).await;
    running
}

impl Cluster {
    /// Asks as somebody who wrote the row without asking whether they may.
    async fn asks(&self, person: &str, kind: AskKind, notebook: &str) -> String {
        self.store.ask(kind, &id("team-a", notebook), &who(person), clock::now()).await.unwrap()
    }

    async fn outcome(&self, ask: &str) -> String {
        eventually("an answer", async || self.store.ask_outcome(ask).await.unwrap().unwrap()).await
    }

    /// Kubeflow's annotation.
    async fn stopped(&self) -> Option<String> {
        let notebook = self.notebooks("team-a").get("ml").await.unwrap();
        notebook.annotations().get(STOPPED).cloned()
    }

    /// Of the audit trail: event, person, object, detail; the newest first.
    async fn audited(&self) -> Vec<[String; 4]> {
        let events = self.store.list_audit(50).await.unwrap().into_iter();
        let texts = events.map(|it| [Some(it.event), it.person, it.object, it.detail].map(Option::unwrap_or_default));
        texts.filter(|[event, ..]| event.starts_with("notebook-st") || event == "ask-refused").collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_stops_and_starts_a_notebook() {
    let cluster = cluster().await;
    let _running = operating(&cluster).await;
    let began = Instant::now();
    let stop = cluster.asks(ANN, AskKind::Stop, "ml").await;
    assert_eq!(cluster.outcome(&stop).await, "done");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let when: jiff::Timestamp = cluster.stopped().await.unwrap().parse().unwrap();
    assert!(when.duration_until(jiff::Timestamp::now()).as_secs().abs() < 30);
    let again = cluster.asks(ANN, AskKind::Stop, "ml").await;
    assert_ne!(again, stop);
    assert_eq!(cluster.outcome(&again).await, "done", "stopped is stopped");
    assert!(cluster.stopped().await.is_some());
    for _ in 0..2 {
        let start = cluster.asks(ANN, AskKind::Start, "ml").await;
        assert_eq!(cluster.outcome(&start).await, "done");
        assert_eq!(cluster.stopped().await, None);
    }
    let audited = cluster.audited().await;
    let expected = ["notebook-started", "notebook-started", "notebook-stopped", "notebook-stopped"];
    assert_eq!(audited, expected.map(|event| [event, ANN, "team-a/ml", ""].map(str::to_owned)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_somebody_who_may_not_is_refused_and_says_so() {
    let cluster = cluster().await;
    let _running = operating(&cluster).await;
    for (person, notebook, word) in [
        ("carol@example.com", "ml", "viewer"),
        ("dave@example.com", "ml", "stranger"),
        ("Ann@example.com", "ml", "stranger"),
        (ANN, "none", "no-notebook"),
    ] {
        for kind in [AskKind::Stop, AskKind::Start] {
            let ask = cluster.asks(person, kind, notebook).await;
            assert_eq!(cluster.outcome(&ask).await, format!("denied: {word}"), "{person}");
            let refused = ["ask-refused", person, &format!("team-a/{notebook}"), &format!("{}: {word}", kind.word())];
            let refused = refused.map(str::to_owned);
            // The answer comes before the line in the audit trail.
            let is_audited = async || (cluster.audited().await.first() == Some(&refused)).then_some(());
            eventually("a line in the audit trail", is_audited).await;
        }
    }
    assert_eq!(cluster.stopped().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_long_before_the_operator_came_expires() {
    let cluster = cluster().await;
    let then = clock::now().plus_seconds(-ASK_SECONDS - 1);
    let old = cluster.store.ask(AskKind::Stop, &id("team-a", "ml"), &who(ANN), then).await.unwrap();
    let _running = operating(&cluster).await;
    assert_eq!(cluster.outcome(&old).await, "expired");
    assert_eq!(cluster.stopped().await, None);
    assert!(cluster.audited().await.is_empty());
}

/// An operator that has seen the notebook's Pod.
async fn with_a_pod(cluster: &Cluster) -> Running {
    let uid = cluster.notebooks("team-a").get("ml").await.unwrap().uid().unwrap();
    let set = cluster.stateful_set("team-a", "ml", &uid).await;
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "192.0.2.1", mounted).await;
    let mut running = operating(cluster).await;
    running.sees("its Pod", |world| world.pods_of(&id("team-a", "ml")).count() == 1).await;
    running
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_start_in_one_breath_is_a_restart() {
    let cluster = cluster().await;
    let _running = with_a_pod(&cluster).await;
    let stop = cluster.asks(ANN, AskKind::Stop, "ml").await;
    let start = cluster.asks(ANN, AskKind::Start, "ml").await;
    assert_eq!(cluster.outcome(&stop).await, "done");
    // Kubeflow's controller would not have seen a notebook that is started again at once.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(cluster.store.ask_outcome(&start).await.unwrap(), Some(None), "it waits for the Pod to go");
    assert!(cluster.stopped().await.is_some());
    cluster.delete::<Pod>("team-a", "ml-0").await;
    assert_eq!(cluster.outcome(&start).await, "done");
    assert_eq!(cluster.stopped().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_comes_after_a_waiting_start_is_the_last_word() {
    let cluster = cluster().await;
    let _running = with_a_pod(&cluster).await;
    let stop = cluster.asks(ANN, AskKind::Stop, "ml").await;
    let start = cluster.asks(ANN, AskKind::Start, "ml").await;
    assert_eq!(cluster.outcome(&stop).await, "done");
    let last = cluster.asks(ANN, AskKind::Stop, "ml").await;
    assert_eq!(cluster.outcome(&last).await, "done");
    cluster.delete::<Pod>("team-a", "ml-0").await;
    assert_eq!(cluster.outcome(&start).await, "superseded");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(cluster.stopped().await.is_some());
    let audited = cluster.audited().await;
    assert_eq!(audited, ["notebook-stopped"; 2].map(|event| [event, ANN, "team-a/ml", ""].map(str::to_owned)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_notebook_keeps_no_other_waiting() {
    let cluster = cluster().await;
    for number in 0..7 {
        cluster.notebook("team-a", &format!("n{number}")).await;
    }
    let mut running = cluster.operating(Options::default()).await;
    running.sees("all", |w| w.notebooks().count() == 8 && w.people_of(&id("team-a", "ml").namespace).len() == 2).await;
    // What is written is never seen: each takes three seconds.
    running.stops_watching();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    let mut asks = vec![cluster.asks(ANN, AskKind::Stop, "ml").await];
    for number in 0..7 {
        asks.push(cluster.asks(ANN, AskKind::Stop, &format!("n{number}")).await);
    }
    for ask in asks {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut outcome = None;
        while outcome.is_none() && Instant::now() < deadline {
            outcome = cluster.store.ask_outcome(&ask).await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(outcome.as_deref(), Some("done"));
    }
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_said() {
    let cluster = cluster().await;
    let _running = operating(&cluster).await;
    cluster.plane.stop_server().unwrap();
    let ask = cluster.asks(ANN, AskKind::Stop, "ml").await;
    let outcome = cluster.outcome(&ask).await;
    assert!(outcome.starts_with("error: looking for the kind Notebook"), "{outcome}");
    assert!(cluster.audited().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_that_was_made_since_under_the_same_name_is_another_one() {
    let cluster = cluster().await;
    let mut running = operating(&cluster).await;
    let ml = id("team-a", "ml");
    let mut old = running.worlds.borrow().notebook(&ml).unwrap().clone();
    "4bcf42d2-0000-4000-8000-000000000000".clone_into(&mut old.uid);
    running.facts.send(Fact::Notebook(ml.clone(), Some(old.clone()))).await.unwrap();
    running.sees("the one of before", |world| world.notebook(&ml) == Some(&old)).await;
    let ask = cluster.asks(ANN, AskKind::Stop, "ml").await;
    let outcome = cluster.outcome(&ask).await;
    assert!(outcome.starts_with("error: changing the Notebook"), "{outcome}");
    assert_eq!(cluster.stopped().await, None);
}
