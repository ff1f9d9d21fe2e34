//! What can be wrong with a notebook that lets people in by the law and yet does not.

use serde::{Deserialize, Serialize};

/// Something that keeps people out of a notebook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// Its Pod lacks the mount: it was made before Fairlead, or while its webhook was away.
    NeedsRestart,
    /// No sshd greets in its Pod.
    NoSshd,
    /// Several Pods claim to be it.
    Ambiguous,
    /// A Secret of its Secret's name is somebody else's.
    SecretTaken,
    /// Its Secret is still that of an earlier Notebook.
    SecretLeftover,
    /// Its Secret is immutable or of another type: keys neither come nor go.
    SecretFrozen,
}

impl Trouble {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::NeedsRestart,
        Self::NoSshd,
        Self::Ambiguous,
        Self::SecretTaken,
        Self::SecretLeftover,
        Self::SecretFrozen,
    ];

    /// The word for logs, JSON and the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::NeedsRestart => "needs-restart",
            Self::NoSshd => "no-sshd",
            Self::Ambiguous => "ambiguous",
            Self::SecretTaken => "secret-taken",
            Self::SecretLeftover => "secret-leftover",
            Self::SecretFrozen => "secret-frozen",
        }
    }

    /// By its word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_word_of_its_own_that_json_has_too() {
        for trouble in Trouble::ALL {
            assert_eq!(Trouble::from_word(trouble.word()), Some(trouble));
            assert_eq!(serde_json::to_value(trouble).unwrap(), trouble.word());
        }
        assert_eq!(Trouble::from_word("nonsense"), None);
    }
}
