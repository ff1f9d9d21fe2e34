//! The two ways to install Fairlead, as the lab does it: all in one Pod, or as in production.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::paths;

/// How Fairlead is installed in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Installation {
    /// One Pod on SQLite: `deploy/base`.
    AllInOne,
    /// Two Deployments on PostgreSQL: `deploy/overlays/production`.
    Production,
}

impl Installation {
    /// The one that `FAIRLEAD_LAB_INSTALLATION` names, `all-in-one` by default, unless the cluster has the other.
    pub fn wished() -> Result<Self> {
        let word = std::env::var("FAIRLEAD_LAB_INSTALLATION").unwrap_or_default();
        let wished = match word.as_str() {
            "" | "all-in-one" => Self::AllInOne,
            "production" => Self::Production,
            other => bail!("`FAIRLEAD_LAB_INSTALLATION` is `{other}`, and neither `all-in-one` nor `production`"),
        };
        let file = paths::cluster().join("installation");
        match fs::read_to_string(&file) {
            Ok(before) if before != wished.word() => bail!(
                "the cluster has the installation `{before}`, and `{}` is wished for: their databases differ\n\
                 hint: make lab-down",
                wished.word()
            ),
            Ok(_) => {}
            Err(_) => fs::write(&file, wished.word()).with_context(|| format!("writing `{}`", file.display()))?,
        }
        Ok(wished)
    }

    const fn word(self) -> &'static str {
        match self {
            Self::AllInOne => "all-in-one",
            Self::Production => "production",
        }
    }

    /// The folder below `deploy` that is applied.
    #[must_use]
    pub const fn manifests(self) -> &'static str {
        match self {
            Self::AllInOne => "demo",
            Self::Production => "demo-production",
        }
    }

    /// Its Deployments, each with its replicas. Admins' commands run in a Pod of the first.
    #[must_use]
    pub const fn deployments(self) -> &'static [(&'static str, i32)] {
        match self {
            Self::AllInOne => &[("fairlead", 1)],
            Self::Production => &[("fairlead-operator", 2), ("fairlead-front", 2)],
        }
    }
}
