//! Says in the database that this gateway lives, so that the sessions of one that died do not stay open there, and what
//! its sessions have carried; and deletes there what is too old.
//!
//! Whether another gateway lives is told by its row, which changes. What time it says is not looked at: a clock that is
//! minutes off, here or there, would end sessions that go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fairlead_model::Time;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::live::Live;
use crate::clock::now;
use crate::store::Store;

/// How often old records are looked for.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// A gateway whose row was the same in so many beats in a row, after the first, has lost its sessions.
const MISSED: u32 = 3;

/// The other gateways that have open sessions: what each said last, and in how many looks it was the same.
#[derive(Debug, Default)]
struct Others(BTreeMap<String, (Option<Time>, u32)>);

impl Others {
    /// Takes another look; those who have been silent for too long.
    fn look(&mut self, found: Vec<(String, Option<Time>)>) -> Vec<(String, Option<Time>)> {
        let before = std::mem::take(&mut self.0);
        for (gateway, said) in found {
            let missed = before.get(&gateway).filter(|(last, _)| *last == said).map_or(0, |(_, missed)| missed + 1);
            self.0.insert(gateway, (said, missed));
        }
        let silent = self.0.iter().filter(|(_, (_, missed))| *missed >= MISSED);
        silent.map(|(gateway, (said, _))| (gateway.clone(), *said)).collect()
    }
}

/// Never two sooner after one another than that. A process that was stalled must not make up for the beats it missed, all
/// at once: it would find every other gateway's row the same in each.
fn beats(every: Duration) -> Interval {
    let mut beats = interval(every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

/// Runs until it is aborted. The database may be away: then it says so once.
pub(super) async fn run(store: Store, gateway: String, live: Arc<Live>, every: Duration, keep: Duration) {
    let mut ticks = beats(every);
    let mut away = false;
    let mut pruned: Option<Instant> = None;
    let mut others = Others::default();
    loop {
        ticks.tick().await;
        let beat = async {
            store.beat(&gateway, now()).await?;
            let unnoted = live.unnoted();
            store.note_bytes(&unnoted).await?;
            live.noted(&unnoted);
            let mut lost = 0;
            for (gone, said) in others.look(store.other_gateways(&gateway).await?) {
                lost += store.close_lost_sessions(&gone, said, now()).await?;
            }
            let pruned = if pruned.is_none_or(|last| last.elapsed() >= PRUNE_EVERY) {
                let kept = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
                Some(store.prune(Time(now().0 - kept)).await?)
            } else {
                None
            };
            anyhow::Ok((lost, pruned))
        };
        match beat.await {
            Ok((lost, old)) => {
                away = false;
                match old {
                    // There may be more: at the next tick, so that no beat waits for them.
                    Some(records) if records > 0 => info!(records, "deleted old records"),
                    Some(_) => pruned = Some(Instant::now()),
                    None => {}
                }
                if lost > 0 {
                    info!(sessions = lost, "closed the sessions of gateways that are gone");
                }
            }
            Err(error) if !away => {
                away = true;
                warn!(error = format!("{error:#}"), "saying that this gateway lives");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_gone_when_its_row_stays_the_same_whatever_time_that_says() {
        let mut others = Others::default();
        let row = |gateway: &str, said| (gateway.to_owned(), said);
        // One whose clock is an hour off, goes back five minutes and stands still at last; one that never said a word.
        let (early, earlier) = (Some(Time(3_600_000)), Some(Time(3_300_000)));
        let mut silent = Vec::new();
        for said in [early, Some(Time(3_620_000)), earlier, Some(Time(3_320_000)), early, early, early] {
            silent = others.look(vec![row("skewed", said), row("dead", Some(Time(i64::MAX)))]);
            assert!(silent.iter().all(|(gateway, _)| gateway == "dead"), "{silent:?}");
        }
        assert_eq!(silent, [row("dead", Some(Time(i64::MAX)))]);
        assert_eq!(others.look(vec![row("skewed", early), row("mute", None)]), [row("skewed", early)]);
        for _ in 0..2 {
            assert_eq!(others.look(vec![row("mute", None)]), []);
        }
        assert_eq!(others.look(vec![row("mute", None)]), [row("mute", None)]);
    }

    #[tokio::test]
    async fn after_a_stall_no_beat_is_made_up_for() {
        let every = Duration::from_millis(50);
        let mut ticks = beats(every);
        ticks.tick().await;
        std::thread::sleep(every * 5);
        ticks.tick().await;
        for _ in 0..MISSED {
            let last = Instant::now();
            ticks.tick().await;
            assert!(last.elapsed() >= every / 2, "{:?}", last.elapsed());
        }
    }
}
