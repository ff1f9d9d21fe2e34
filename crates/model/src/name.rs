//! Names of notebooks: in the cluster, and as hosts that people type.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name: a StatefulSet's Pod gets `-0` and a label value of its revision, which ends at 63 characters.
pub const MAX_LABEL: usize = 52;

/// One DNS label as Kubernetes has them (RFC 1123): `a-z`, `0-9`, `-` inside, at most [`MAX_LABEL`] characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// Why a text is no name. It never repeats the text, which may come from anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not a DNS label of at most 52 characters.
    #[error("a name has 1 to {MAX_LABEL} of a-z, 0-9 and -, and begins and ends with a letter or digit")]
    Label,
    /// Not three labels that end in the suffix.
    #[error("not the host name of a notebook, which is NOTEBOOK.NAMESPACE and the suffix")]
    Host,
}

/// A notebook's place: its namespace, which is its profile's name, and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NotebookId {
    /// The namespace.
    pub namespace: Label,
    /// The Notebook's name.
    pub name: Label,
}

/// What the host name of every notebook ends in: `notebook`, or labels of the admin's choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSuffix(String);

impl Label {
    /// The name, or why it is none.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let fits = (1..=MAX_LABEL).contains(&text.len()) && text.bytes().all(inside);
        if !fits || text.starts_with('-') || text.ends_with('-') {
            return Err(BadName::Label);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl NotebookId {
    /// Of two texts that should be names.
    pub fn parse(namespace: &str, name: &str) -> Result<Self, BadName> {
        Ok(Self { namespace: Label::parse(namespace)?, name: Label::parse(name)? })
    }

    /// Reads `NOTEBOOK.NAMESPACE.SUFFIX`, byte for byte: no other case, no dot at the end, nothing around it.
    pub fn from_host(host: &str, suffix: &HostSuffix) -> Result<Self, BadName> {
        let id = host.strip_suffix(&suffix.0).and_then(|rest| rest.strip_suffix('.')).ok_or(BadName::Host)?;
        let (name, namespace) = id.split_once('.').ok_or(BadName::Host)?;
        Self::parse(namespace, name).map_err(|_| BadName::Host)
    }

    /// The name that people type: `NOTEBOOK.NAMESPACE.SUFFIX`.
    #[must_use]
    pub fn host(&self, suffix: &HostSuffix) -> String {
        format!("{}.{}.{}", self.name, self.namespace, suffix.0)
    }
}

impl HostSuffix {
    /// Labels with dots between them, without one at either end.
    pub fn parse(text: &str) -> Result<Self, BadName> {
        text.split('.').try_for_each(|label| Label::parse(label).map(drop))?;
        Ok(Self(text.to_owned()))
    }

    /// The suffix as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for HostSuffix {
    fn default() -> Self {
        Self("notebook".to_owned())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for NotebookId {
    /// `NAMESPACE/NAME`, as kubectl has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl TryFrom<String> for Label {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> Self {
        label.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tricks_with_host_names_name_no_notebook() {
        let long = "a".repeat(MAX_LABEL + 1);
        for host in [
            "",
            ".",
            "..",
            "notebook",
            ".notebook",
            "a.notebook",
            "a.b.c.notebook",
            "a.b.notebook.",
            "a.b..notebook",
            ".a.b.notebook",
            "A.b.notebook",
            "a.b.NOTEBOOK",
            "a.b.notebook\0",
            "a.b.notebook ",
            " a.b.notebook",
            "a.b.notebook:2209",
            "10.0.0.1",
            "::1",
            "[::1]",
            "a..notebook",
            "-a.b.notebook",
            "a-.b.notebook",
            "a.b.notebook.evil",
            "a_b.c.notebook",
            "а.b.notebook",
            "a.b。notebook",
            "a%00.b.notebook",
            "a/b.c.notebook",
            "localhost",
            "a.bnotebook",
            &format!("{long}.b.notebook"),
            "*.b.notebook",
            "a,b.c.notebook",
        ] {
            assert_eq!(NotebookId::from_host(host, &HostSuffix::default()), Err(BadName::Host), "{host:?}");
        }
    }

    proptest! {
        #[test]
        fn a_host_name_comes_back_as_the_notebook_it_was_made_of(
            name in "[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?", space in "[a-z0-9]([-a-z0-9]{0,50}[a-z0-9])?",
            suffix in "[a-z0-9]{1,9}(\\.[a-z0-9]{1,9}){0,2}",
        ) {
            let id = NotebookId::parse(&space, &name).unwrap();
            let suffix = HostSuffix::parse(&suffix).unwrap();
            prop_assert_eq!(NotebookId::from_host(&id.host(&suffix), &suffix), Ok(id));
        }

        #[test]
        fn whatever_is_taken_for_a_host_name_is_spelt_that_way(text in "\\PC{0,40}(\\.notebook)?") {
            if let Ok(id) = NotebookId::from_host(&text, &HostSuffix::default()) {
                prop_assert_eq!(id.host(&HostSuffix::default()), text);
            }
        }
    }
}
