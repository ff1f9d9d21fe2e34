//! What is counted, under documented names.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// All metrics of this process. Each name begins with `fairlead_`. `fairlead_build_info{version}` is always 1.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `fairlead_sessions_active`: sessions that this process carries now.
    pub sessions_active: Gauge,
    /// `fairlead_sessions_total{outcome}`: sessions asked for: `opened`, or the word of the refusal.
    pub sessions: Family<Outcome, Counter>,
    /// `fairlead_signins_total{outcome}`: sign-ins: `accepted`, `claimed`, `refused`, `no-ssh`, `timeout`, or
    /// the limit that closed the connection at once: `full`, `full-waiting`, `full-source`.
    pub signins: Family<Outcome, Counter>,
    /// `fairlead_session_bytes_total{direction}`: bytes carried, `up` from clients or `down` to them.
    pub session_bytes: Family<Direction, Counter>,
    /// `fairlead_sessions_ended_total{outcome}`: sessions that ended: `closed`, `denied`, `key-removed`, ….
    pub sessions_ended: Family<Outcome, Counter>,
    /// `fairlead_session_open_seconds`: from a request for a notebook to the greeting of its sshd.
    pub session_open_seconds: Histogram,
    /// `fairlead_connections_active`: SSH connections to this gateway, signed in or not.
    pub connections_active: Gauge,
    /// `fairlead_requests_refused_total{outcome}`: other requests that a gateway refused, by kind: `pty`, `agent`, ….
    pub requests_refused: Family<Outcome, Counter>,
    /// `fairlead_world_notebooks`: notebooks this process knows.
    pub world_notebooks: Gauge,
    /// `fairlead_store_queue`: records that wait for the database.
    pub store_queue: Gauge,
    /// `fairlead_secret_writes_total{outcome}`: Secrets of notebooks looked after: `written`, `unchanged`, `foreign` or
    /// `failed`.
    pub secret_writes: Family<Outcome, Counter>,
    /// `fairlead_leader`: 1 while this process leads, and does what only one process may do.
    pub leader: Gauge,
    /// `fairlead_webhook_seconds`: from a request about a new Pod to its answer.
    pub webhook_seconds: Histogram,
}

/// How something went, in one word.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// The word. There are few: each one is a time series for ever.
    pub outcome: &'static str,
}

/// Which way bytes went.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Direction {
    /// `up`, from the client to the notebook, or `down`.
    pub direction: &'static str,
}

impl Metrics {
    /// All of them at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut all = Self {
            registry: Registry::with_prefix("fairlead"),
            sessions_active: Gauge::default(),
            sessions: Family::default(),
            signins: Family::default(),
            session_bytes: Family::default(),
            sessions_ended: Family::default(),
            // From a millisecond to four seconds; the gateway waits five.
            session_open_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 7)),
            connections_active: Gauge::default(),
            requests_refused: Family::default(),
            world_notebooks: Gauge::default(),
            store_queue: Gauge::default(),
            secret_writes: Family::default(),
            leader: Gauge::default(),
            // From half a millisecond to the two seconds that the API server waits.
            webhook_seconds: Histogram::new(exponential_buckets(0.0005, 4.0, 7)),
        };
        let registry = &mut all.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which version this process is", build);
        registry.register("sessions_active", "Sessions that this process carries now", all.sessions_active.clone());
        registry.register("sessions", "Sessions asked for, by what became of them", all.sessions.clone());
        registry.register("signins", "Sign-ins, by what became of them", all.signins.clone());
        registry.register("session_bytes", "Bytes carried for sessions", all.session_bytes.clone());
        registry.register("sessions_ended", "Sessions that ended, by why", all.sessions_ended.clone());
        let seconds = all.session_open_seconds.clone();
        registry.register_with_unit("session_open", "Time until a notebook's sshd answered", Unit::Seconds, seconds);
        registry.register("connections_active", "SSH connections to this gateway", all.connections_active.clone());
        registry.register("requests_refused", "Other requests refused, by kind", all.requests_refused.clone());
        registry.register("world_notebooks", "Notebooks this process knows", all.world_notebooks.clone());
        registry.register("store_queue", "Records that wait for the database", all.store_queue.clone());
        registry.register("secret_writes", "Secrets looked after, by what came of it", all.secret_writes.clone());
        registry.register("leader", "1 while this process leads", all.leader.clone());
        let seconds = all.webhook_seconds.clone();
        registry.register_with_unit("webhook", "Time until a new Pod was answered for", Unit::Seconds, seconds);
        all
    }

    /// All of them in the text format of OpenMetrics.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
