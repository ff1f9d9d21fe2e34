//! How often strangers are written down: whoever offers an unknown key may come as often as they like, and must not fill
//! the database or the log by it. The metric counts them all.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Source;

/// One record a source and this time.
const FOLD: Duration = Duration::from_mins(1);
/// So many sources at once, about 1 MB. Others are not written down until these are forgotten.
const SOURCES: usize = 10_000;

/// Who was refused lately.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    lately: Mutex<HashMap<Source, Written>>,
}

#[derive(Debug)]
struct Written {
    at: Instant,
    /// Refusals since then.
    more: u64,
}

impl Strangers {
    /// Notes a refusal. Where it is to be written down: how many others of this source were not, since the last that
    /// was.
    pub(super) fn note(&self, from: IpAddr, now: Instant) -> Option<u64> {
        let source = Source::of(from);
        let mut lately = self.lately.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(written) = lately.get_mut(&source) {
            if now.duration_since(written.at) < FOLD {
                written.more += 1;
                return None;
            }
            let more = written.more;
            *written = Written { at: now, more: 0 };
            return Some(more);
        }
        if lately.len() >= SOURCES {
            lately.retain(|_, written| now.duration_since(written.at) < FOLD);
        }
        if lately.len() >= SOURCES {
            return None;
        }
        lately.insert(source, Written { at: now, more: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_source_is_written_down_once_a_minute_with_how_often_it_came() {
        let (strangers, start) = (Strangers::default(), Instant::now());
        let note = |ip: &str, seconds| strangers.note(ip.parse().unwrap(), start + Duration::from_secs(seconds));
        let notes = [
            ("10.0.0.1", 0, Some(0)),
            ("10.0.0.1", 1, None),
            ("10.0.0.2", 2, Some(0)),
            ("10.0.0.1", 59, None),
            ("10.0.0.1", 60, Some(2)),
            ("10.0.0.1", 119, None),
            ("10.0.0.1", 500, Some(1)),
            ("2001:db8::1", 500, Some(0)),
            ("2001:db8::2", 500, None),
        ];
        for (ip, seconds, written) in notes {
            assert_eq!(note(ip, seconds), written, "{ip} after {seconds} s");
        }
    }

    #[test]
    fn many_sources_at_once_cost_so_much_memory_and_no_more() {
        let (strangers, start) = (Strangers::default(), Instant::now());
        let ip = |number: usize| IpAddr::from(Ipv4Addr::from(u32::try_from(number).unwrap()));
        let written = (0..2 * SOURCES).filter(|number| strangers.note(ip(*number), start).is_some()).count();
        assert_eq!((written, strangers.lately.lock().unwrap().len()), (SOURCES, SOURCES));
        assert_eq!(strangers.note(ip(SOURCES), start + FOLD), Some(0));
        assert_eq!(strangers.lately.lock().unwrap().len(), 1);
    }
}
