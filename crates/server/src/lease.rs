//! Which of several processes leads: the one that holds a Lease, renewed as client-go does it. Clocks of two machines are
//! never compared. Whoever waits takes a Lease over when its record has not changed for so long by their own monotonic
//! clock; whoever leads stops a second earlier, by theirs. So a step of any wall clock makes no second leader.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use fairlead_model::Time;
use fairlead_model::plan::MANAGER;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::cluster::is_answer;
use crate::metrics::Metrics;
use crate::random;
use crate::watch::chain;

/// The Lease's name.
pub const LEASE: &str = "fairlead-operator";
/// How long others wait, since they saw the record change, before they take it over.
pub const DURATION: Duration = Duration::from_secs(3);
/// The longest that a record of another version of Fairlead, or of somebody's hand, makes others wait.
const MAX_DURATION: Duration = Duration::from_mins(1);
/// A leader that has not renewed for so long stops its work: before anybody else can have begun. There is room in it for a
/// renewal that takes a second, and for another try after one that failed: each loss is a start with nothing known, which
/// is much to do for an API server that is slow already.
pub const LIMIT: Duration = Duration::from_millis(2500);
/// How long after a renewal began the next one does.
const RENEW: Duration = Duration::from_millis(500);
/// How often the others look: with [`DURATION`] less than five seconds from the end of a leader to the next one's work.
const LOOK: Duration = Duration::from_millis(250);
/// After a request that failed.
const RETRY: Duration = Duration::from_millis(200);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// One that would lead.
pub struct Candidate {
    leases: Api<Lease>,
    holder: String,
    metrics: Arc<Metrics>,
    now: fn() -> Time,
}

/// A time of leading.
struct Term {
    /// As it was last read or written.
    lease: Lease,
    /// When the request began by which it was last renewed.
    since: Instant,
}

/// How a term ended.
enum End {
    Stopped,
    Lost(String),
    Done(Result<()>),
}

/// Another's record, and when it was seen to change.
struct Seen {
    spec: Option<LeaseSpec>,
    at: Instant,
    /// Somebody deleted it since.
    gone: bool,
}

impl Candidate {
    /// One with a name for people to read; a random part makes it differ from every other, also from its own of before
    /// a restart.
    pub fn new(client: Client, namespace: &str, name: &str, metrics: Arc<Metrics>, now: fn() -> Time) -> Result<Self> {
        let holder = format!("{name}_{}", random::id()?);
        Ok(Self { leases: Api::namespaced(client, namespace), holder, metrics, now })
    }

    /// Waits until it leads, and then works; drops that work at once where it no longer leads, and waits again. Ends with
    /// `stop`, or when the work does; then the next may lead at once.
    ///
    /// Only what is polled within the work ends with it: it must leave nothing that writes in a task of its own.
    pub async fn lead<W>(self, stop: CancellationToken, mut work: impl FnMut() -> W) -> Result<()>
    where
        W: Future<Output = Result<()>>,
    {
        loop {
            let Some(mut term) = stop.run_until_cancelled(self.win()).await else { return Ok(()) };
            tracing::info!(holder = self.holder, "this process leads");
            self.metrics.leader.set(1);
            // The work is gone when this returns.
            let end = self.hold(&mut term, work(), &stop).await;
            self.metrics.leader.set(0);
            let done = match end {
                End::Lost(why) => {
                    tracing::warn!(why, "this process leads no more");
                    continue;
                }
                End::Stopped => Ok(()),
                End::Done(done) => done,
            };
            self.release(term.lease).await;
            return done;
        }
    }

    async fn win(&self) -> Term {
        let mut seen = Seen { spec: None, at: Instant::now(), gone: false };
        let mut said = String::new();
        loop {
            match self.try_to_win(&mut seen).await {
                Ok(Some(term)) => return term,
                Ok(None) => {
                    let leader = seen.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
                    if leader != said && !leader.is_empty() {
                        tracing::info!(leader, "another process leads, this one waits");
                        said = leader;
                    }
                }
                Err(why) => {
                    if why != said {
                        tracing::warn!(why, "nothing is known of who leads");
                        said = why;
                    }
                }
            }
            sleep(LOOK).await;
        }
    }

    /// Takes the Lease where it is nobody's: not made yet, given back, one's own, not renewed, or deleted for as long.
    async fn try_to_win(&self, seen: &mut Seen) -> Result<Option<Term>, String> {
        let found = in_time(self.leases.get_opt(LEASE)).await.map_err(|error| error.to_string())?;
        let holder = found.as_ref().and_then(|lease| lease.spec.as_ref()?.holder_identity.as_deref());
        if holder.is_some_and(|holder| !holder.is_empty() && holder != self.holder) {
            let spec = found.as_ref().and_then(|lease| lease.spec.clone());
            // By the answer's time: the record is at least as old.
            if seen.spec != spec || seen.gone {
                *seen = Seen { spec, at: Instant::now(), gone: false };
            }
            if seen.at.elapsed() < duration(seen.spec.as_ref()) {
                return Ok(None);
            }
        } else if found.is_none() && seen.spec.is_some() {
            // Whoever held it may have renewed a moment before it was deleted, and does not know that yet.
            if !seen.gone {
                (seen.at, seen.gone) = (Instant::now(), true);
            }
            if seen.at.elapsed() < duration(seen.spec.as_ref()) {
                return Ok(None);
            }
        }
        let began = Instant::now();
        let lease = self.record(found.clone().unwrap_or_default());
        let params = PostParams::default();
        let done = match &found {
            Some(_) => in_time(self.leases.replace(LEASE, &params, &lease)).await,
            None => in_time(self.leases.create(&params, &lease)).await,
        };
        match done {
            Ok(lease) => Ok(Some(Term { lease, since: began })),
            // Somebody else was first.
            Err(Failed::Conflict) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn hold(&self, term: &mut Term, work: impl Future<Output = Result<()>>, stop: &CancellationToken) -> End {
        let mut work = pin!(work);
        loop {
            let Term { lease, since } = term;
            // Until then nobody else can lead.
            let until = *since + LIMIT;
            let mut renewal = pin!(self.renew(lease, *since + RENEW));
            let renewed = tokio::select! {
                biased;
                () = stop.cancelled() => return End::Stopped,
                () = sleep_until(until) => None,
                renewed = &mut renewal => Some(renewed),
                // A process that was frozen must not go on before its timers have noticed.
                done = std::future::poll_fn(|context| {
                    if Instant::now() < until { work.as_mut().poll(context).map(Some) } else { Poll::Ready(None) }
                }) => match done {
                    Some(done) => return End::Done(done),
                    None => None,
                },
            };
            match renewed {
                None => {
                    return End::Lost(format!(
                        "the Lease `{LEASE}` could not be renewed for {} s",
                        LIMIT.as_secs_f32()
                    ));
                }
                Some(Err(why)) => return End::Lost(why),
                Some(Ok(began)) => term.since = began,
            }
        }
    }

    /// Renews once, when it is due, and tries again until that works: when the request that did began. Fails where it is
    /// somebody else's.
    async fn renew(&self, lease: &mut Lease, due: Instant) -> Result<Instant, String> {
        sleep_until(due).await;
        loop {
            let began = Instant::now();
            let next = self.record(lease.clone());
            match in_time(self.leases.replace(LEASE, &PostParams::default(), &next)).await {
                Ok(renewed) => {
                    *lease = renewed;
                    return Ok(began);
                }
                Err(Failed::Conflict) => {}
                Err(error) => {
                    tracing::debug!(%error, "renewing the Lease");
                    sleep(RETRY).await;
                }
            }
            // Was it written after all, or by whom?
            match in_time(self.leases.get_opt(LEASE)).await {
                Ok(Some(found)) => {
                    let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
                    if holder != Some(&self.holder) {
                        return Err(format!("the Lease `{LEASE}` is held by `{}`", holder.unwrap_or_default()));
                    }
                    *lease = found;
                }
                Ok(None) => return Err(format!("the Lease `{LEASE}` is gone")),
                Err(error) => {
                    tracing::debug!(%error, "reading the Lease");
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Gives it back, so that nobody waits.
    async fn release(&self, lease: Lease) {
        let mut lease = self.record(lease);
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        if let Err(error) = in_time(self.leases.replace(LEASE, &PostParams::default(), &lease)).await {
            tracing::debug!(%error, "giving the Lease back");
        }
    }

    /// The Lease as this process holds it from now on.
    fn record(&self, mut lease: Lease) -> Lease {
        let before = lease.spec.take().unwrap_or_default();
        let now = Timestamp::from_millisecond((self.now)().0).unwrap_or_default();
        // Each record differs from the one before, whatever the clock says: others see by that that it was renewed.
        let now = match &before.renew_time {
            Some(last) if last.0 == now => now.saturating_add(SignedDuration::from_micros(1)).unwrap_or(now),
            _ => now,
        };
        let mine = before.holder_identity.as_deref() == Some(&self.holder);
        let transitions = before.lease_transitions.unwrap_or(0);
        lease.spec = Some(LeaseSpec {
            acquire_time: if mine { before.acquire_time } else { Some(MicroTime(now)) },
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs().try_into().unwrap_or(i32::MAX)),
            lease_transitions: Some(if mine { transitions } else { transitions.saturating_add(1) }),
            renew_time: Some(MicroTime(now)),
            ..before
        });
        let ObjectMeta { name, labels, .. } = &mut lease.metadata;
        *name = Some(LEASE.to_owned());
        labels.get_or_insert_default().insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
        lease
    }
}

/// Why a request did not do what it should.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("somebody else was first")]
    Conflict,
    #[error("{0}")]
    Request(String),
    #[error("no answer from the API server in {} s", PATIENCE.as_secs())]
    Silent,
}

async fn in_time<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(PATIENCE, request).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if is_answer(&error, 409) => Err(Failed::Conflict),
        Ok(Err(error)) => Err(Failed::Request(chain(&error))),
        Err(_) => Err(Failed::Silent),
    }
}

/// How long a record of another counts since it changed: as it says, within bounds.
fn duration(spec: Option<&LeaseSpec>) -> Duration {
    let seconds = spec.and_then(|spec| u64::try_from(spec.lease_duration_seconds?).ok()).unwrap_or(0);
    Duration::from_secs(seconds).clamp(DURATION, MAX_DURATION)
}
