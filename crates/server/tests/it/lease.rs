//! Who leads, by a Lease on a real API server.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead_model::Time;
use fairlead_server::lease::{Candidate, DURATION, LEASE, LIMIT};
use fairlead_server::metrics::Metrics;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, SYSTEM, eventually};

/// Who thought to lead, from when until when, by the one clock of this process.
#[derive(Clone, Default)]
struct Terms(Arc<Mutex<Vec<Led>>>);

#[derive(Clone)]
struct Led {
    who: &'static str,
    from: Instant,
    /// When it last did anything.
    to: Instant,
    over: bool,
}

/// One that works while it leads, each few milliseconds.
struct Process {
    stop: CancellationToken,
    work: JoinHandle<anyhow::Result<()>>,
    metrics: Arc<Metrics>,
}

/// Marks the end of a term by being dropped, as the work is.
struct Working(Terms, usize);

impl Terms {
    fn all(&self) -> Vec<Led> {
        self.0.lock().unwrap().clone()
    }

    fn leader(&self) -> Option<&'static str> {
        self.all().last().filter(|last| !last.over).map(|last| last.who)
    }

    async fn leads(&self, what: &str, wish: impl Fn(&str) -> bool) -> &'static str {
        eventually(what, async || self.leader().filter(|who| wish(who))).await
    }

    /// No two at once, whatever became of them.
    #[track_caller]
    fn never_overlap(&self) {
        for pair in self.all().windows(2) {
            let [before, after] = pair else { unreachable!() };
            assert!(before.over && before.to <= after.from, "{} and {} led at once", before.who, after.who);
        }
    }

    async fn work(self, who: &'static str) -> anyhow::Result<()> {
        let from = Instant::now();
        let at = {
            let mut all = self.0.lock().unwrap();
            all.push(Led { who, from, to: from, over: false });
            all.len() - 1
        };
        let working = Working(self, at);
        loop {
            working.0.0.lock().unwrap()[at].to = Instant::now();
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let led = &mut self.0.0.lock().unwrap()[self.1];
        (led.to, led.over) = (Instant::now(), true);
    }
}

fn begin(cluster: &Cluster, terms: &Terms, who: &'static str, now: fn() -> Time) -> Process {
    let (metrics, stop) = (Arc::new(Metrics::new()), CancellationToken::new());
    let candidate = Candidate::new(cluster.own.clone(), SYSTEM, who, metrics.clone(), now).unwrap();
    let terms = terms.clone();
    let work = tokio::spawn(candidate.lead(stop.clone(), move || terms.clone().work(who)));
    Process { stop, work, metrics }
}

impl Process {
    /// As a process that is killed: it gives nothing back.
    fn dies(self) {
        self.work.abort();
    }

    async fn ends_well(self) {
        self.stop.cancel();
        self.work.await.unwrap().unwrap();
    }
}

/// A clock that has stopped, and one that is years ahead of it.
fn stopped() -> Time {
    Time(1_000_000)
}

fn ahead() -> Time {
    Time(4_000_000_000_000)
}

async fn lease(cluster: &Cluster) -> Lease {
    cluster.api::<Lease>(SYSTEM).get(LEASE).await.unwrap()
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().unwrap().holder_identity.clone().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_leads_and_the_other_follows_a_death_soon_and_a_release_at_once_whatever_their_clocks_say() {
    let (cluster, terms) = (Cluster::start().await, Terms::default());
    let one = begin(&cluster, &terms, "one", stopped);
    let two = begin(&cluster, &terms, "two", ahead);
    let first = terms.leads("a leader", |_| true).await;
    let (leader, other) = if first == "one" { (one, two) } else { (two, one) };
    assert_eq!((leader.metrics.leader.get(), other.metrics.leader.get()), (1, 0));
    assert!(holder(&lease(&cluster).await).starts_with(&format!("{first}_")));
    // It stays so for longer than a record counts.
    let version = async || lease(&cluster).await.metadata.resource_version.unwrap();
    while terms.all()[0].from.elapsed() <= DURATION * 3 / 2 {
        let before = version().await;
        eventually("a renewal", async || (version().await != before).then_some(())).await;
    }
    assert_eq!((terms.all().len(), terms.leader()), (1, Some(first)), "nobody took it from who renews");

    let died = Instant::now();
    leader.dies();
    let second = terms.leads("the other leads", |who| who != first).await;
    assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    assert_eq!(other.metrics.leader.get(), 1);

    let third = begin(&cluster, &terms, "three", stopped);
    // It has looked and waits by now.
    for _ in 0..2 {
        let before = version().await;
        eventually("a renewal", async || (version().await != before).then_some(())).await;
    }
    assert_eq!(third.metrics.leader.get(), 0);
    let gave = Instant::now();
    other.ends_well().await;
    assert_eq!(terms.leads("the third leads", |who| who != second).await, "three");
    assert!(gave.elapsed() < LIMIT, "long before the record ran out: {:?}", gave.elapsed());
    third.ends_well().await;
    assert_eq!(holder(&lease(&cluster).await), "", "it was given back");
    terms.never_overlap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_cannot_renew_stops_before_another_begins() {
    let (cluster, terms) = (Cluster::start().await, Terms::default());
    let _processes = [begin(&cluster, &terms, "one", stopped), begin(&cluster, &terms, "two", ahead)];
    for _ in 0..2 {
        terms.leads("a leader", |_| true).await;
        let away = Instant::now();
        cluster.plane.stop_server().unwrap();
        eventually("nobody leads", async || terms.leader().is_none().then_some(())).await;
        let led = away.elapsed();
        assert!(led < DURATION, "it went on for {led:?}");
        cluster.plane.start_server().await.unwrap();
        terms.leads("a leader again", |_| true).await;
    }
    terms.never_overlap();
    assert!(terms.all().len() >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_lease_was_taken_or_deleted_stops_and_one_that_was_only_touched_goes_on() {
    let (cluster, terms) = (Cluster::start().await, Terms::default());
    let process = begin(&cluster, &terms, "one", stopped);
    terms.leads("a leader", |_| true).await;
    let leases = cluster.api::<Lease>(SYSTEM);
    // Each time the next renewal meets another version than it knows.
    for round in 0..3 {
        let note = json!({"metadata": {"annotations": {"somebody": round.to_string()}}});
        let noted = leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(note)).await.unwrap();
        let version = noted.metadata.resource_version;
        eventually("it renews", async || (lease(&cluster).await.metadata.resource_version != version).then_some(()))
            .await;
    }
    assert_eq!(terms.all().len(), 1, "it led all the time");
    assert_eq!(lease(&cluster).await.metadata.annotations.unwrap()["somebody"], "2", "what others wrote stays");

    let taken = json!({"spec": {"holderIdentity": "somebody else"}});
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    eventually("it stops", async || terms.leader().is_none().then_some(())).await;
    assert_eq!(process.metrics.leader.get(), 0);
    // That one never renews.
    terms.leads("it leads again", |_| true).await;
    cluster.delete::<Lease>(SYSTEM, LEASE).await;
    eventually("it stops", async || (terms.all()[1].over).then_some(())).await;
    terms.leads("it leads again", |_| true).await;
    terms.never_overlap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_deleted_makes_no_second_leader() {
    let (cluster, terms) = (Cluster::start().await, Terms::default());
    let leads = begin(&cluster, &terms, "one", stopped);
    terms.leads("a leader", |_| true).await;
    let waits = begin(&cluster, &terms, "two", ahead);
    // Each time who waits looks before who leads does, or after it.
    for round in 1..6 {
        let before = lease(&cluster).await.metadata.resource_version;
        eventually("a renewal", async || (lease(&cluster).await.metadata.resource_version != before).then_some(()))
            .await;
        cluster.delete::<Lease>(SYSTEM, LEASE).await;
        eventually("it stops", async || terms.all()[round - 1].over.then_some(())).await;
        terms.leads("it leads again", |_| true).await;
        terms.never_overlap();
    }
    assert_eq!(waits.metrics.leader.get() + leads.metrics.leader.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_ends_gives_the_lease_back() {
    let (cluster, metrics) = (Cluster::start().await, Arc::new(Metrics::new()));
    let candidate = Candidate::new(cluster.own.clone(), SYSTEM, "one", metrics.clone(), stopped).unwrap();
    let done = candidate.lead(CancellationToken::new(), async || anyhow::bail!("broken")).await;
    assert_eq!(done.unwrap_err().to_string(), "broken");
    assert_eq!((holder(&lease(&cluster).await).as_str(), metrics.leader.get()), ("", 0));
}

/// On one thread, which the work keeps from noticing that time goes by, as a process that is frozen does.
#[tokio::test]
async fn work_does_not_go_on_after_a_freeze_before_anybody_looked_at_the_clock() {
    let cluster = Cluster::start().await;
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::new()));
    let candidate = Candidate::new(cluster.own.clone(), SYSTEM, "one", metrics, stopped).unwrap();
    let (late, terms) = (Arc::new(Mutex::new(false)), Arc::new(Mutex::new(0)));
    let work = {
        let (late, terms, stop) = (late.clone(), terms.clone(), stop.clone());
        move || {
            *terms.lock().unwrap() += 1;
            let (late, first) = (late.clone(), *terms.lock().unwrap() == 1);
            let (stop, mut froze) = (stop.clone(), false);
            std::future::poll_fn(move |context| {
                if !first {
                    stop.cancel();
                } else if froze {
                    *late.lock().unwrap() = true;
                } else {
                    froze = true;
                    std::thread::sleep(LIMIT + Duration::from_millis(100));
                    context.waker().wake_by_ref();
                }
                std::task::Poll::Pending
            })
        }
    };
    candidate.lead(stop, work).await.unwrap();
    assert_eq!((*terms.lock().unwrap(), *late.lock().unwrap()), (2, false));
}
