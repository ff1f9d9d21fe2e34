//! The operator: keeps every notebook's Secret as it should be, says what is wrong, and starts and stops notebooks.

mod asks;
mod deliver;
mod found;
pub mod gateway_secret;
mod held;
mod host_keys;
mod identities;
mod pass;
mod policies;
mod probe;
mod teller;
mod trouble;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::{HostSuffix, Time};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use crate::identity_store::Identity;
use crate::ledger::Worlds;
use crate::metrics::Metrics;
use crate::serve::wait_for_rows;
use crate::store::Store;
use crate::watch::Sights;
use asks::Asks;
use pass::State;
use policies::Keeper;
pub use policies::Policies;

/// Changes that come close together are written together.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// What the operator works with.
pub struct Operator {
    /// The cluster.
    pub client: Client,
    /// The database.
    pub store: Store,
    /// What is known.
    pub worlds: Worlds,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// CA and master secret.
    pub identity: watch::Receiver<Arc<Identity>>,
    /// What host names end in.
    pub suffix: HostSuffix,
    /// How often each Secret is looked after, changed or not.
    pub resync: Duration,
    /// How long a container may run without an sshd before that is said.
    pub greeting_patience: Duration,
    /// Where to print what would be written, instead of writing it.
    pub dry_run: Option<Box<dyn Write + Send + Sync>>,
    /// What it does about policies.
    pub policies: Policies,
    /// The clock.
    pub now: fn() -> Time,
}

/// Works until the ledger ends. Nothing is written before every kind has been listed and the rows have been read: half
/// a world would take people's keys away.
pub async fn run(mut operator: Operator, mut sights: Sights) -> Result<()> {
    sights.wait_listed().await;
    wait_for_rows(&mut operator.worlds).await?;
    let Operator { client, store, worlds, now, .. } = &operator;
    let asks = Asks { client: client.clone(), store: store.clone(), worlds: worlds.clone(), now: *now };
    let keeper = Keeper::new(client, worlds, operator.resync);
    let policies = std::mem::take(&mut operator.policies);
    if operator.dry_run.is_some() {
        return tokio::try_join!(keeper.run(policies), keep_secrets(operator)).map(drop);
    }
    // Apart from the rest: what somebody waits for must not wait for a pass over all notebooks.
    tokio::try_join!(asks.run(), keeper.run(policies), keep_secrets(operator)).map(drop)
}

async fn keep_secrets(operator: Operator) -> Result<()> {
    let (state, found, teller) = State::new(&operator);
    // Apart from it, too: no key waits for an Event.
    tokio::try_join!(pass_by_pass(operator, state, found), teller.run()).map(drop)
}

async fn pass_by_pass(mut operator: Operator, mut state: State, mut found: Receiver<probe::Found>) -> Result<()> {
    let mut rotates = true;
    loop {
        let next = state.pass(&mut operator).await;
        tokio::select! {
            changed = operator.worlds.changed() => {
                changed.context("following the world")?;
                tokio::time::sleep(DEBOUNCE).await;
            }
            changed = operator.identity.changed(), if rotates => rotates = changed.is_ok(),
            () = state.take_found(&mut found) => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

/// Prints a Secret as YAML, without what is secret.
fn print(output: &mut (dyn Write + Send + Sync), secret: &Secret) {
    let printed = serde_json::to_value(secret).map_err(anyhow::Error::from).and_then(|mut value| {
        for (_, field) in value["data"].as_object_mut().into_iter().flatten() {
            *field = "[redacted]".into();
        }
        print_value(output, &value)
    });
    if let Err(error) = printed {
        tracing::error!("printing a Secret: {error:#}");
    }
}

fn print_value(output: &mut (dyn Write + Send + Sync), value: &serde_json::Value) -> Result<()> {
    Ok(writeln!(output, "---\n{}", serde_saphyr::to_string(value)?.trim_end())?)
}
