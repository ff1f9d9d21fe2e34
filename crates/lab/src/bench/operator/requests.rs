//! What the API server was asked for, as it counts itself.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use kube::Client;

/// Requests by verb, resource and subresource.
pub(super) struct Requests(BTreeMap<String, f64>);

impl Requests {
    pub(super) async fn read(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new()).context("asking for /metrics")?;
        let text = client.request_text(request).await.context("reading the API server's metrics")?;
        let mut all = BTreeMap::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
            let Some((labels, value)) = line.rsplit_once("} ") else { continue };
            let label = |name: &str| {
                let found = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
                found.map_or("", |value| value.trim_end_matches('"'))
            };
            let what = format!("{} {}/{}", label("verb"), label("resource"), label("subresource"));
            *all.entry(what).or_default() += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(Self(all))
    }

    /// What came since then.
    pub(super) fn since(&self, before: &Self) -> Self {
        let more = self.0.iter().map(|(what, count)| (what.clone(), count - before.0.get(what).unwrap_or(&0.0)));
        Self(more.filter(|(_, count)| *count > 0.0).collect())
    }

    /// About Secrets and Pods: what only the operator asks for, as nobody else is there. Watches, which the benchmark
    /// has too, count when they end.
    pub(super) fn of_objects(&self) -> f64 {
        let counts = self.0.iter().filter(|(what, _)| {
            let is_object = what.contains(" secrets/") || what.contains(" pods/");
            is_object && !what.starts_with("WATCH") && !what.starts_with("LIST")
        });
        counts.fold(0.0, |sum, (_, count)| sum + count)
    }
}
