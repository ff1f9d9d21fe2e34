//! Where log lines go, and in which form. Audit lines are JSON always.

use std::io::stderr;

use anyhow::{Context, Result};
use tracing::Subscriber;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

/// Failures that follow each other, of which only the first is worth a line: what is tried every other second would
/// else fill the log while the database is away.
#[derive(Debug, Default)]
pub(crate) struct InARow(bool);

impl InARow {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(false)
    }

    /// One more; whether it is the first.
    pub(crate) const fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.0, true)
    }

    /// It works again.
    pub(crate) const fn end(&mut self) {
        self.0 = false;
    }
}

/// Sends logs to standard error, as text or as JSON lines. `FAIRLEAD_LOG` says how much, in the words of
/// `tracing-subscriber`; else it is `default`. Audit lines come always.
pub fn start(json: bool, default: &str) -> Result<()> {
    let wanted = std::env::var("FAIRLEAD_LOG").unwrap_or_else(|_| default.to_owned());
    // russh warns in words that its clients choose, as names of unknown requests; whoever wants them can ask for them.
    let filter =
        EnvFilter::try_new(format!("russh=error,{wanted}")).with_context(|| format!("`FAIRLEAD_LOG` is `{wanted}`"))?;
    subscriber(json, filter, stderr).try_init().context("starting the log")
}

fn subscriber<W>(json: bool, filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer.clone());
    let lines = if json { lines.json().boxed() } else { lines.with_ansi(false).boxed() };
    let lines = lines.with_filter(filter).with_filter(filter_fn(|line| line.target() != "audit"));
    let audit = fmt::layer().json().flatten_event(true).with_writer(writer);
    let audit = audit.with_filter(filter_fn(|line| line.target() == "audit"));
    tracing_subscriber::registry().with(lines).with(audit)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fairlead_model::Time;

    use super::*;
    use crate::recorder;
    use crate::store::audit::AuditEvent;

    #[test]
    fn an_audit_line_is_json_whatever_the_others_are_and_however_few() {
        let dir = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(dir.path().join("log")).unwrap();
        let subscriber = subscriber(false, EnvFilter::new("warn"), Arc::new(file));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("too quiet");
            tracing::warn!("loud enough");
            recorder::log(&AuditEvent {
                at: Time(7),
                event: "key-added".to_owned(),
                person: Some("alice@example.com".to_owned()),
                from: None,
                object: Some("a \"quote\"\nand a line".to_owned()),
                detail: None,
            });
        });
        let text = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0].ends_with("loud enough"), "{text}");
        let line: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(line["target"], "audit");
        assert_eq!((&line["at"], &line["event"]), (&7.into(), &"key-added".into()));
        assert_eq!((&line["person"], &line["from"]), (&"alice@example.com".into(), &serde_json::Value::Null));
        assert_eq!(line["object"], "a \"quote\"\nand a line");
    }
}
