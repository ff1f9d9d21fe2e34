//! What was measured, as a table and as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// All figures of a run, and how busy the machine was with other things.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    cores: usize,
    /// `/proc/loadavg` before the benchmark began, and at its end.
    load_before: String,
    load_after: String,
    #[serde(rename = "figures")]
    all: Vec<Figure>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    unit: &'static str,
    ours: Spread,
    /// The peer of the same run, where there is one.
    peer: Option<Spread>,
    /// Our median to the peer's.
    ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Spread {
    n: usize,
    median: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Figures {
    pub(super) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        Self { cores, load_before: load(), load_after: String::new(), all: Vec::new() }
    }

    pub(super) fn add(&mut self, name: &str, unit: &'static str, values: Vec<f64>) {
        self.all.push(Figure { name: name.to_owned(), unit, ours: Spread::of(values), peer: None, ratio: None });
    }

    pub(super) fn add_against(&mut self, name: &str, unit: &'static str, ours: Vec<f64>, peers: Vec<f64>) {
        let (ours, peer) = (Spread::of(ours), Spread::of(peers));
        let ratio = Some(ours.median / peer.median);
        self.all.push(Figure { name: name.to_owned(), unit, ours, peer: Some(peer), ratio });
    }

    /// Writes the JSON and returns the table.
    pub(super) fn finish(mut self, json: &Path) -> Result<String> {
        self.load_after = load();
        let text = serde_json::to_string_pretty(&self).context("writing the figures as JSON")?;
        fs::write(json, text).with_context(|| format!("writing `{}`", json.display()))?;
        let head = "| figure | median | p95 | p99 | max | peer's median | ratio | n |";
        let mut lines = vec![head.to_owned(), "| --- | --- | --- | --- | --- | --- | --- | --- |".to_owned()];
        lines.extend(self.all.iter().map(Figure::row));
        lines.push(String::new());
        lines.push(format!("{} cores; load before: {}; at the end: {}", self.cores, self.load_before, self.load_after));
        Ok(lines.join("\n"))
    }
}

impl Figure {
    fn row(&self) -> String {
        let Self { name, unit, ours, .. } = self;
        let number = |value: f64| if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        let spread =
            if ours.n == 1 { ["–"; 3].map(str::to_owned) } else { [ours.p95, ours.p99, ours.max].map(number) };
        let peer = self.peer.as_ref().map_or_else(|| "–".to_owned(), |peer| format!("{} {unit}", number(peer.median)));
        let ratio = self.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        format!("| {name} | {} {unit} | {} | {peer} | {ratio} | {} |", number(ours.median), spread.join(" | "), ours.n)
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        // The nearest rank: the smallest value that at least `part` of all do not exceed.
        let rank = |hundredths: usize| {
            let rank = (values.len() * hundredths).div_ceil(100).max(1);
            values.get(rank - 1).copied().unwrap_or(f64::NAN)
        };
        Self { n: values.len(), median: rank(50), p95: rank(95), p99: rank(99), max: rank(100) }
    }
}

/// The first three words of `/proc/loadavg`.
fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spread = Spread::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((spread.n, spread.median, spread.p95), (200, 100.0, 190.0));
        assert_eq!((spread.p99, spread.max), (198.0, 200.0));
        let one = Spread::of(vec![7.0]);
        assert_eq!((one.median, one.p95, one.max), (7.0, 7.0, 7.0));
    }
}
