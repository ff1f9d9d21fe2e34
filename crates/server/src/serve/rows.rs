//! Rows become facts: keys, switches and troubles, now and whenever they change.

use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::{Fact, Time, World};
use tokio::time::{MissedTickBehavior, sleep, timeout};

use crate::ledger::{Facts, Worlds};
use crate::store::{Store, Topic};
use crate::{clock, random};

/// How often rows are read again even when nobody says that they changed: heals rows that were changed by hand.
const READ_AGAIN: Duration = Duration::from_secs(10);
/// How often this process says that it lives: three times in the minute after which the page calls it away.
const BEAT: Duration = Duration::from_secs(20);

/// Tells the ledger all keys, where SSH is switched off and what is wrong with notebooks, until it fails.
pub async fn feed_rows(store: Store, facts: Facts) -> Result<()> {
    let (keys, notebooks) = (feed(&store, &facts, Topic::Keys), feed(&store, &facts, Topic::Notebooks));
    tokio::try_join!(keys, notebooks).map(drop)
}

/// Says again and again which parts run in this process, for admins to see, until it is aborted.
pub(super) async fn beat(store: Store, parts: Vec<&'static str>) -> Result<()> {
    let id = random::id()?;
    let mut ticks = tokio::time::interval(BEAT);
    // After a stall there is nothing to make up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Where the database is away, others say so.
        if let Err(error) = store.beat_parts(&id, &parts, clock::now()).await {
            tracing::debug!("saying which parts run: {error:#}");
        }
    }
}

/// All facts of a topic.
async fn read(store: &Store, topic: Topic, now: Time) -> Result<Vec<Fact>> {
    match topic {
        Topic::Keys => Ok(vec![store.key_fact(now).await?]),
        // Who waits for switches has the troubles too: the operator must not forget what was found before it began.
        Topic::Notebooks => Ok(vec![store.troubles_fact().await?, store.switches_fact().await?]),
        // Nothing is decided by them.
        Topic::Asks => Ok(Vec::new()),
    }
}

async fn feed(store: &Store, facts: &Facts, topic: Topic) -> Result<()> {
    let mut changes = store.changes(topic);
    let mut failing = false;
    loop {
        changes.mark_unchanged();
        let now = clock::now();
        match read(store, topic, now).await {
            Ok(read) => {
                failing = false;
                for fact in read {
                    facts.send(fact).await.context("telling the ledger which rows there are")?;
                }
            }
            // Those known last go on.
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(?topic, error = format!("{error:#}"), "rows could not be read");
            }
            Err(_) => {}
        }
        if failing {
            sleep(Duration::from_secs(1)).await;
        } else if let Ok(changed) = timeout(good_for(store, topic, now).await, changes.changed()).await {
            changed.context("watching for changes of rows")?;
        }
    }
}

/// How long the rows that were read at `now` are good for, if nobody changes them: until a key ends.
async fn good_for(store: &Store, topic: Topic, now: Time) -> Duration {
    if topic != Topic::Keys {
        return READ_AGAIN;
    }
    // Where this cannot be read, the keys soon will not be either, which is said there.
    let Ok(Some(end)) = store.next_key_end(now).await else { return READ_AGAIN };
    let left = u64::try_from(end.0.saturating_sub(clock::now().0)).unwrap_or(0);
    // Not zero: the timer's clock may be a little ahead of the one that keys end by.
    READ_AGAIN.min(Duration::from_millis(left.max(10)))
}

/// Waits until the rows are read that decide: without keys everybody is a stranger, and without switches nothing is
/// switched off.
pub(crate) async fn wait_for_rows(worlds: &mut Worlds) -> Result<()> {
    let known = |world: &std::sync::Arc<World>| world.knows_keys() && world.knows_switches();
    worlds.wait_for(known).await.context("waiting for keys and switches").map(drop)
}
