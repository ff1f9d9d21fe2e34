//! What may be wrong with a notebook, and in which words.

use fairlead_model::NotebookId;
use fairlead_model::world::{self, Uid};

/// Something that keeps people out of a notebook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// This Pod lacks the mount: it was made before Fairlead, or while its webhook was away.
    NotMounted(Uid),
    /// Several Pods claim to be it.
    Ambiguous,
    /// A Secret of its Secret's name is somebody else's.
    SecretTaken,
    /// Its Secret is still that of an earlier Notebook.
    SecretLeftover,
    /// Its Secret is immutable or of another type: keys neither come nor go.
    SecretFrozen,
    /// Somebody changed its Secret; this version of it was put back.
    SecretRestored(String),
    /// No sshd greets in this Pod.
    NoSshd(Uid),
}

impl Trouble {
    /// One word for Kubernetes and the audit trail.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NotMounted(_) => "SshNeedsRestart",
            Self::Ambiguous => "SshAmbiguousPods",
            Self::SecretTaken => "SshSecretTaken",
            Self::SecretLeftover => "SshSecretLeftover",
            Self::SecretFrozen => "SshSecretFrozen",
            Self::SecretRestored(_) => "SshSecretRestored",
            Self::NoSshd(_) => "SshNoServer",
        }
    }

    /// What of it the database has for page and gateways. What the objects show, everybody sees for themselves.
    pub(super) const fn found(&self) -> Option<world::Trouble> {
        match self {
            Self::SecretTaken => Some(world::Trouble::SecretTaken),
            Self::SecretLeftover => Some(world::Trouble::SecretLeftover),
            Self::SecretFrozen => Some(world::Trouble::SecretFrozen),
            Self::NoSshd(_) => Some(world::Trouble::NoSshd),
            Self::NotMounted(_) | Self::Ambiguous | Self::SecretRestored(_) => None,
        }
    }

    /// A sentence for people.
    pub(super) fn note(&self, id: &NotebookId) -> String {
        let secret = format!("fairlead-{}", id.name);
        match self {
            Self::NotMounted(_) => {
                "no SSH into this Pod: it was made without Fairlead's Secret. Stop the notebook and \
                                    start it again"
                    .to_owned()
            }
            Self::Ambiguous => "no SSH: several Pods claim to be this notebook. Delete the one that is not".to_owned(),
            Self::SecretTaken => {
                format!("no SSH: the Secret `{secret}` was not made by Fairlead. Delete it or give it another name")
            }
            Self::SecretLeftover => format!(
                "no SSH yet: the Secret `{secret}` belongs to an earlier notebook of this name. It goes by itself, or \
                 delete it"
            ),
            Self::SecretFrozen => format!(
                "keys neither come nor go: the Secret `{secret}` cannot be changed; delete it, and Fairlead makes it \
                 again"
            ),
            Self::SecretRestored(_) => {
                format!("somebody changed the Secret `{secret}`: what Fairlead writes was put back")
            }
            Self::NoSshd(_) => "no SSH: nothing in this Pod answers on port 2209. Its image has no sshd of Fairlead, \
                                or a policy keeps Fairlead out"
                .to_owned(),
        }
    }
}
