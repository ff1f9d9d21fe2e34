//! The one clock: everything below gets its time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use fairlead_model::Time;

/// The moment it is now.
#[must_use]
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A moment as people read it: RFC 3339, in UTC, whole seconds.
#[must_use]
pub fn text(time: Time) -> String {
    let moment = jiff::Timestamp::from_second(time.0.div_euclid(1000));
    moment.map_or_else(|_| format!("{} ms", time.0), |moment| moment.to_string())
}
