//! How a notebook stands, in one word for people: what `decide` would say, and what keeps them out all the same.

use serde::{Deserialize, Serialize};

use crate::access::{enabled, is_dialable};
use crate::name::NotebookId;
use crate::plan;
use crate::world::{Trouble, World};

/// How a notebook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// SSH works, as far as is known.
    Running,
    /// No Pod of it runs yet.
    Starting,
    /// It has Kubeflow's stop annotation.
    Stopped,
    /// No sshd answers in its Pod.
    NoSshd,
    /// Its Pod was made without its Secret, and a new one will have it.
    NeedsRestart,
    /// SSH is switched off for it.
    Off,
    /// Several Pods claim to be it.
    Ambiguous,
    /// Its Pod's address is one that no Pod of its own can have.
    BadAddress,
    /// Its Secret is not in place.
    SecretProblem,
}

/// How `target` stands; of a notebook that is not there, `Stopped`.
#[must_use]
pub fn state(world: &World, target: &NotebookId) -> State {
    let Some(notebook) = world.notebook(target) else { return State::Stopped };
    if enabled(world, target).is_err() {
        return State::Off;
    }
    if notebook.stopped {
        return State::Stopped;
    }
    let mut pods = world.pods_of(target).map(|(_, pod)| pod);
    let Some(pod) = pods.next() else { return State::Starting };
    if pods.next().is_some() {
        return State::Ambiguous;
    }
    let Some(ip) = pod.ip.filter(|_| pod.running) else { return State::Starting };
    if !is_dialable(world, ip) {
        return State::BadAddress;
    }
    if !plan::is_mounted(target, pod) {
        return State::NeedsRestart;
    }
    let troubles: Vec<Trouble> = world.troubles(target).collect();
    let is_secrets =
        |trouble: &Trouble| matches!(trouble, Trouble::SecretTaken | Trouble::SecretLeftover | Trouble::SecretFrozen);
    // The Secret first: without it an sshd has no identity, and starts or not.
    if troubles.iter().any(is_secrets) {
        return State::SecretProblem;
    }
    if troubles.contains(&Trouble::NoSshd) { State::NoSshd } else { State::Running }
}

impl State {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Running,
        Self::Starting,
        Self::Stopped,
        Self::NoSshd,
        Self::NeedsRestart,
        Self::Off,
        Self::Ambiguous,
        Self::BadAddress,
        Self::SecretProblem,
    ];

    /// The word for JSON, style sheets and messages' keys.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::NoSshd => "no-sshd",
            Self::NeedsRestart => "needs-restart",
            Self::Off => "off",
            Self::Ambiguous => "ambiguous",
            Self::BadAddress => "bad-address",
            Self::SecretProblem => "secret-problem",
        }
    }

    /// What is wrong and what to do, in ASCII, where nothing is refused and people do not get in all the same.
    #[must_use]
    pub const fn told(self) -> Option<&'static str> {
        match self {
            Self::Starting => Some("the notebook is starting: try again in a moment"),
            Self::NoSshd => Some("no sshd answers in the notebook: its image has none, or a policy keeps Fairlead out"),
            Self::NeedsRestart => Some("the notebook needs a restart: stop it and start it again in the dashboard"),
            Self::SecretProblem => Some("the notebook's Secret is not in place: its Events say what is in the way"),
            Self::Running | Self::Stopped | Self::Off | Self::Ambiguous | Self::BadAddress => None,
        }
    }
}
