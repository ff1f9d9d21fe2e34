//! Watch and operator of a test, in its own process, on the API server of a [`Cluster`].
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead_model::plan::mesh;
use fairlead_model::{HostSuffix, Time, World};
use fairlead_server::identity_store::{Identity, IdentityStore};
use fairlead_server::ledger::{self, Facts, Worlds};
use fairlead_server::operator::{self, Operator, Policies};
use fairlead_server::picture::Picture;
use fairlead_server::watch::{self as watches, Sights};
use fairlead_server::web::{Metrics, Outcome};
use fairlead_server::{clock, serve};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Cluster, PATIENCE, SYSTEM};

/// Watch and operator as `serve` has them; dropping it ends them.
pub(crate) struct Running {
    pub(crate) worlds: Worlds,
    pub(crate) facts: Facts,
    pub(crate) sights: Sights,
    pub(crate) metrics: Arc<Metrics>,
    stop: Vec<DropGuard>,
}

/// How the operator runs in a test.
pub(crate) struct Options {
    pub(crate) resync: Duration,
    pub(crate) greeting_patience: Duration,
    pub(crate) output: Option<Output>,
    /// What is done about policies; nothing is followed for them where nothing is set.
    pub(crate) mesh: Option<mesh::Settings>,
    /// Whether the rows are read.
    pub(crate) keys: bool,
    /// CA and master secret that the test changes itself; otherwise those of the cluster.
    pub(crate) identity: Option<watch::Receiver<Arc<Identity>>>,
    pub(crate) now: fn() -> Time,
}

/// What a dry run prints.
#[derive(Clone, Default)]
pub(crate) struct Output(Arc<Mutex<Vec<u8>>>);

impl Default for Options {
    fn default() -> Self {
        Self {
            resync: Duration::from_mins(10),
            greeting_patience: Duration::from_mins(1),
            output: None,
            mesh: None,
            keys: true,
            identity: None,
            now: clock::now,
        }
    }
}

impl Cluster {
    /// The watch alone.
    pub(crate) fn watching(&self, picture: Option<&Picture>) -> Running {
        let stop = CancellationToken::new();
        let (facts, worlds) = ledger::start(World::default());
        let sights = watches::start(&self.own, &facts, &worlds, picture, &stop);
        Running { worlds, facts, sights, metrics: Arc::default(), stop: vec![stop.drop_guard()] }
    }

    /// Watch, keys and operator.
    pub(crate) async fn operating(&self, options: Options) -> Running {
        let mut running = self.watching(None);
        if options.keys {
            tokio::spawn(serve::feed_rows(self.store.clone(), running.facts.clone()));
        }
        let kept = IdentityStore::new(self.own.clone(), SYSTEM, self.store.clone());
        let dry_run = options.output.is_some();
        let identity = if dry_run { kept.load_or_pretend().await } else { kept.load_or_create().await }.unwrap();
        let stop = CancellationToken::new();
        if let Some(settings) = &options.mesh {
            watches::mesh::start(&self.own, &running.facts, settings, &stop);
        }
        let operator = Operator {
            client: self.own.clone(),
            store: self.store.clone(),
            worlds: running.worlds.clone(),
            metrics: running.metrics.clone(),
            identity: options.identity.unwrap_or_else(|| kept.follow(identity, Duration::from_mins(10), &stop)),
            suffix: HostSuffix::default(),
            resync: options.resync,
            greeting_patience: options.greeting_patience,
            dry_run: options.output.clone().map(|output| Box::new(output) as _),
            policies: Policies {
                settings: options.mesh.clone().unwrap_or_default(),
                dry_run: options.output.map(|output| Box::new(output) as _),
            },
            now: options.now,
        };
        let work = operator::run(operator, running.sights.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(work));
        running.stop.push(stop.drop_guard());
        running
    }
}

impl Running {
    /// Ends the watch: the world stays as it is.
    pub(crate) fn stops_watching(&mut self) {
        drop(self.stop.remove(0));
    }

    /// Waits until the world is as wished.
    pub(crate) async fn sees(&mut self, what: &str, wish: impl FnMut(&World) -> bool) -> Arc<World> {
        let mut wish = wish;
        let waiting = self.worlds.wait_for(|world| wish(world));
        let seen = tokio::time::timeout(PATIENCE, waiting).await;
        seen.unwrap_or_else(|_| panic!("never seen: {what}")).unwrap().clone()
    }

    /// How many Secrets were looked after with this outcome.
    pub(crate) fn writes(&self, outcome: &'static str) -> u64 {
        self.metrics.secret_writes.get_or_create(&Outcome { outcome }).get()
    }

    /// Waits until all was listed.
    pub(crate) async fn has_listed(&mut self) {
        tokio::time::timeout(PATIENCE, self.sights.wait_listed()).await.expect("all kinds get listed");
    }
}

impl Output {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
