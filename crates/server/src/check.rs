//! `check`: is this cluster ready, and what keeps people out of one notebook. Each finding comes with its fix.

mod installation;
mod notebook;
mod page;
mod policies;
mod replicas;

use std::fmt::Display;
use std::io::Write;

use anyhow::{Context, Result};
use fairlead_model::plan::mesh;
use fairlead_model::{HostSuffix, NotebookId, Time};
use kube::Client;

pub use self::page::{PageCheck, look as look_at_page};
use crate::settings::{Part, SshDefault};
use crate::store::Store;
use crate::watch;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warn,
    /// Nobody gets in by this.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is.
    pub what: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// What to look at.
pub struct Check {
    /// The cluster.
    pub client: Client,
    /// The database, or why it does not open.
    pub store: Result<Store>,
    /// The namespace that Fairlead lives in.
    pub namespace: String,
    /// What host names end in.
    pub suffix: HostSuffix,
    /// The admin's `--ssh`.
    pub ssh: SshDefault,
    /// The parts of the process where it is called: what they need, and what their rights let it look at.
    pub parts: Vec<Part>,
    /// What Fairlead does about policies of mesh and network.
    pub mesh: mesh::Settings,
    /// The page, where it is to be asked.
    pub page: Option<PageCheck>,
    /// The clock.
    pub now: fn() -> Time,
}

impl Check {
    /// Looks at the installation and, if one is given, at a notebook.
    pub async fn run(&self, notebook: Option<&NotebookId>) -> Vec<Finding> {
        let mut findings = installation::look(self).await;
        if let Some(page) = &self.page {
            findings.extend(page::look(page).await);
        }
        let Some(id) = notebook else { return findings };
        if !self.parts.contains(&Part::Operator) {
            findings.push(Finding::warn(
                "a notebook is looked at where the part `operator` runs, which may read its Secret",
                format!(
                    "kubectl exec -n {} deployment/fairlead-operator -- fairlead-server check {id}",
                    self.namespace
                ),
            ));
            return findings;
        }
        match watch::list_once(&self.client).await {
            Ok(facts) => findings.extend(notebook::look(self, &facts, id).await),
            Err(error) => findings.push(Finding::fail(
                format!("the cluster's objects cannot be listed: {}", watch::chain(&error)),
                "see the rights above that are missing",
            )),
        }
        findings
    }
}

/// Reads `NAMESPACE/NOTEBOOK` or a host name.
pub fn parse_notebook(text: &str, suffix: &HostSuffix) -> Result<NotebookId> {
    let id = match text.split_once('/') {
        Some((namespace, name)) => NotebookId::parse(namespace, name),
        None => NotebookId::from_host(text, suffix),
    };
    id.context("a notebook is NAMESPACE/NOTEBOOK or its host name\nhint: kubectl get notebooks -A")
}

/// Writes findings, a line each and the fix below it; whether none is a failure.
pub fn write(findings: &[Finding], output: &mut impl Write) -> Result<bool> {
    for Finding { level, what, fix } in findings {
        let word = match level {
            Level::Ok => "ok  ",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        };
        writeln!(output, "{word}  {what}").context("writing findings")?;
        if let Some(fix) = fix {
            writeln!(output, "      fix: {fix}").context("writing findings")?;
        }
    }
    Ok(findings.iter().all(|finding| finding.level != Level::Fail))
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self { level: Level::Ok, what: what.into(), fix: None }
    }

    fn warn(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, what: what.into(), fix: Some(fix.into()) }
    }

    fn fail(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Names in a sentence.
fn join(names: impl Iterator<Item = impl Display>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
