//! What has to have happened before others should send work here.

use std::collections::BTreeMap;

use tokio::sync::watch;

/// Named conditions, all of them to be met. Shared by `Arc`.
#[derive(Debug, Default)]
pub struct Readiness {
    /// What each waits for; `None` once it is met.
    conditions: watch::Sender<BTreeMap<&'static str, Option<String>>>,
}

impl Readiness {
    /// No condition yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, or takes back that it is met: `reason` says what it waits for.
    pub fn wait_for(&self, condition: &'static str, reason: impl Into<String>) {
        self.conditions.send_modify(|all| drop(all.insert(condition, Some(reason.into()))));
    }

    /// Says that a condition is met.
    pub fn met(&self, condition: &'static str) {
        self.conditions.send_modify(|all| drop(all.insert(condition, None)));
    }

    /// One line for each condition that is not met: its name and what it waits for.
    #[must_use]
    pub fn unmet(&self) -> Vec<String> {
        let all = self.conditions.borrow();
        all.iter().filter_map(|(name, reason)| Some(format!("{name}: {}", reason.as_ref()?))).collect()
    }

    /// Waits until these conditions were met, each at some moment or other.
    pub async fn until_met(&self, conditions: &[&'static str]) {
        for condition in conditions {
            let met = |all: &BTreeMap<&str, Option<String>>| all.get(condition) == Some(&None);
            // The sender is in `self`: it cannot be gone.
            let _ = self.conditions.subscribe().wait_for(met).await;
        }
    }
}
