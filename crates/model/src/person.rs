//! People, as Kubeflow knows them, and what they may do in a profile.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Kubeflow user id, mostly an e-mail address. Its case is kept: Kubeflow compares byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Person(String);

/// What is wrong with a text that should be a user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user id has 1 to 320 characters, none of them a space or a control character")]
pub struct BadPerson;

/// What a contributor may do, by the words of Kubeflow's annotation `role`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Looks, and opens no shell.
    View,
    /// Works in the notebooks.
    Edit,
    /// The same, and lets others in.
    Admin,
    /// The profile's owner.
    Owner,
}

impl Person {
    /// The user id, or what is wrong with it. 320 is the longest e-mail address (RFC 3696).
    pub fn parse(text: &str) -> Result<Self, BadPerson> {
        let bad = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > 320 || text.chars().any(bad) {
            return Err(BadPerson);
        }
        Ok(Self(text.to_owned()))
    }

    /// The user id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Role {
    /// By the annotation's word; an owner is none of those.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "view" => Some(Self::View),
            "edit" => Some(Self::Edit),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// The word for people and for records.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Edit => "edit",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Whether this role opens a shell, which ssh is.
    #[must_use]
    pub const fn opens_shells(self) -> bool {
        !matches!(self, Self::View)
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Person {
    type Error = BadPerson;

    fn try_from(text: String) -> Result<Self, BadPerson> {
        Self::parse(&text)
    }
}

impl From<Person> for String {
    fn from(person: Person) -> Self {
        person.0
    }
}
