//! A policy, as it was last written or tried, and whether it has to be written again.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{FIRST_RETRY, Key, name_of};

/// How long the watch may take to show what was written; after that it is written again.
const SETTLES: Duration = Duration::from_secs(5);
/// The longest wait between tries of what failed.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// One policy.
pub(super) struct Held {
    pub(super) content: Value,
    /// The version that was known when it was written, and the one that it then had.
    seen: Option<String>,
    written: Option<String>,
    /// Whether the watch has shown it since: another version is somebody's change from then on.
    settled: bool,
    pub(super) failures: u32,
    pub(super) due: Instant,
}

impl Held {
    /// One that is there as it should be.
    pub(super) fn found(content: Value, version: Option<String>, rest: Duration) -> Self {
        let seen = version.clone();
        Self { content, seen, written: version, settled: true, failures: 0, due: Instant::now() + rest }
    }

    /// One that was written over what was seen, in the version that it has now; or how often that has failed.
    pub(super) fn tried(
        content: Value,
        seen: Option<String>,
        done: Result<Option<String>, u32>,
        rest: Duration,
    ) -> Self {
        let (written, failures, wait) = match done {
            Ok(written) => (written, 0, SETTLES),
            Err(failures) => (None, failures, LAST_RETRY.min(FIRST_RETRY * 2_u32.pow(failures.clamp(1, 6) - 1))),
        };
        // An apply that changed nothing will not be shown.
        let settled = written.is_some() && written == seen;
        let due = Instant::now() + if settled { rest } else { wait };
        Self { content, seen, written, settled, failures, due }
    }

    /// Whether it has to be written, which is there in a version, and right or not.
    pub(super) fn is_wanting(&mut self, key: &Key, right: bool, version: Option<String>, rest: Duration) -> bool {
        let now = Instant::now();
        if self.due <= now && self.settled {
            return true;
        }
        if right || (version.is_some() && version == self.written) {
            if !self.settled {
                (self.settled, self.failures, self.due) = (true, 0, now + rest);
            }
            self.written = version;
            return false;
        }
        if self.settled {
            tracing::warn!(policy = name_of(key), "somebody changed a policy of Fairlead's: it is put back");
            return true;
        }
        // Not shown by the watch yet, or failed: unless somebody else wrote in between, that takes its time.
        self.due <= now || version != self.seen
    }
}
