//! What is wrong with a notebook, said once: as an Event on the Notebook, in the log and in the audit trail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::world::{self, Uid};
use fairlead_model::{NotebookId, Time};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::store::Store;
use crate::store::audit::AuditEvent;
use crate::watch::chain;

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

    fn note(&self, id: &NotebookId) -> String {
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

/// Remembers what has been said.
pub(super) struct Teller {
    recorder: Recorder,
    store: Store,
    told: BTreeMap<NotebookId, BTreeSet<(Uid, Trouble)>>,
}

impl Teller {
    pub(super) fn new(client: Client, store: Store) -> Self {
        let instance = Some(format!("fairlead-{}", std::process::id()));
        let reporter = Reporter { controller: "fairlead.dev/operator".to_owned(), instance };
        Self { recorder: Recorder::new(client, reporter), store, told: BTreeMap::new() }
    }

    /// Says what is new of `troubles`, which are all there are of this notebook now. What went away may come back and
    /// is said again then. Whether all is said.
    pub(super) async fn tell(&mut self, id: &NotebookId, uid: &str, troubles: BTreeSet<Trouble>, now: Time) -> bool {
        let before = self.told.remove(id).unwrap_or_default();
        let mut told = BTreeSet::new();
        let count = troubles.len();
        for trouble in troubles {
            let cause = (uid.to_owned(), trouble);
            if before.contains(&cause) || self.say(id, uid, &cause.1, now).await {
                told.insert(cause);
            }
        }
        let all = told.len() == count;
        if !told.is_empty() {
            self.told.insert(id.clone(), told);
        }
        all
    }

    /// Forgets a notebook that is gone.
    pub(super) fn forget(&mut self, id: &NotebookId) {
        self.told.remove(id);
    }

    /// Says one thing now; whether that has worked.
    async fn say(&self, id: &NotebookId, uid: &str, trouble: &Trouble, now: Time) -> bool {
        let (reason, note) = (trouble.reason(), trouble.note(id));
        tracing::warn!(notebook = %id, reason, "{note}");
        let event = AuditEvent {
            at: now,
            event: "notebook-trouble".to_owned(),
            person: None,
            from: None,
            object: Some(id.to_string()),
            detail: Some(reason.to_owned()),
        };
        if let Err(error) = self.store.audit(&event).await {
            tracing::warn!(notebook = %id, "noting what is wrong: {error:#}");
        }
        let regarding = ObjectReference {
            api_version: Some("kubeflow.org/v1".to_owned()),
            kind: Some("Notebook".to_owned()),
            name: Some(id.name.to_string()),
            namespace: Some(id.namespace.to_string()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(note),
            action: "Deliver".to_owned(),
            secondary: None,
        };
        let published = tokio::time::timeout(Duration::from_secs(5), self.recorder.publish(&event, &regarding)).await;
        match published {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(notebook = %id, error = chain(&error), "writing an Event");
                false
            }
            Err(_) => false,
        }
    }
}
