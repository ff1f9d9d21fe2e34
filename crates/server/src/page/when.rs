//! Times as the page writes them: in UTC, because a server does not know where its visitor is. A script may say them in
//! the visitor's own time.

use jiff::Timestamp;

/// `2026-11-23`.
pub(super) fn day(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%d").to_string())
}

/// `2026-11-23 16:09 UTC`.
pub(super) fn minute(millis: i64) -> String {
    let write = |time: Timestamp| time.strftime("%Y-%m-%d %H:%M UTC").to_string();
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), write)
}

/// `2026-11-23T16:09:05Z`, for files.
pub(super) fn second(millis: i64) -> String {
    let write = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), write)
}

/// `2 h 05 min`, as an operator of a machine would say it.
pub(super) fn span(millis: i64) -> String {
    let seconds = millis.max(0) / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, _) => format!("{minutes} min"),
        (0, hours, minutes, _) => format!("{hours} h {minutes:02} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
}

/// `1.5 MiB`.
pub(super) fn size(bytes: i64) -> String {
    let mut size = f64::from(u32::try_from(bytes.max(0) / 1024).unwrap_or(u32::MAX));
    if bytes < 1024 {
        return format!("{} B", bytes.max(0));
    }
    for unit in ["KiB", "MiB", "GiB"] {
        if size < 1024.0 {
            return format!("{size:.1} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}
