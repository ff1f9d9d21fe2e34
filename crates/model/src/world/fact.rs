//! What can be learnt: objects as far as they count, and the facts that say so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{MeshFact, Trouble};
use crate::key::{Fingerprint, PublicKey};
use crate::name::{Label, NotebookId};
use crate::person::{Person, Role};
use crate::time::Time;

/// An object's UID in the cluster. Names come back after a deletion; UIDs do not.
pub type Uid = String;

/// The admin's `--ssh`: whether notebooks and namespaces opt out, or in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DefaultSsh {
    /// On, unless `fairlead.dev/ssh: disabled` stands on the namespace or the notebook.
    #[default]
    OptOut,
    /// Off, unless `fairlead.dev/ssh: enabled` stands on one of them and `disabled` on neither.
    OptIn,
}

/// `fairlead.dev/ssh` as it stands on an object. A word that is neither counts as `disabled`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Switch {
    /// Nothing stands there.
    #[default]
    Unset,
    /// `enabled`.
    Enabled,
    /// `disabled`, or a word nobody knows.
    Disabled,
}

/// A Kubeflow Profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `spec.owner` where its kind is User.
    pub owner: Option<Person>,
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// The annotation `owner`.
    pub owner: Option<Person>,
    /// The admin's switch: a profile's people have no right to change their namespace.
    pub ssh: Switch,
    /// When it was made; 0 where that is unknown.
    #[serde(default)]
    pub created: Time,
}

/// Somebody whom a RoleBinding lets into a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who.
    pub person: Person,
    /// With which rights.
    pub role: Role,
}

/// A Notebook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notebook {
    /// Its UID.
    pub uid: Uid,
    /// Whether it has Kubeflow's annotation `kubeflow-resource-stopped`.
    pub stopped: bool,
    /// The switch of the profile's people.
    pub ssh: Switch,
    /// What people see of it.
    #[serde(default)]
    pub shown: Shown,
}

/// What people see of a Notebook and nothing is decided by: texts as its people wrote them, cleaned and cut.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Shown {
    /// The image of its container.
    pub image: String,
    /// Its CPUs, as Kubernetes counts them: `2`, `500m`; empty where nothing is said.
    pub cpu: String,
    /// Its memory, as Kubernetes counts it: `8Gi`.
    pub memory: String,
    /// How many GPUs it has, or pieces of them.
    pub gpus: u32,
    /// When it was made; 0 where that is unknown.
    pub created: Time,
}

/// A StatefulSet that a Notebook controls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatefulSet {
    /// Where it is.
    pub namespace: Label,
    /// The UID of the Notebook that controls it.
    pub notebook: Uid,
}

/// A Pod that a StatefulSet controls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its UID.
    pub uid: Uid,
    /// The UID of the StatefulSet that controls it.
    pub stateful_set: Uid,
    /// Its address, once it has one that can be a Pod's own.
    pub ip: Option<IpAddr>,
    /// Whether it is being deleted or has ended.
    pub ending: bool,
    /// Whether all its containers run and are ready. Nobody is kept out by this: it is what people see.
    #[serde(default)]
    pub running: bool,
    /// Names of the Secrets that are mounted at [`crate::plan::MOUNT`], by container.
    pub mounted: BTreeMap<String, String>,
}

/// A confirmed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Whose it is.
    pub person: Person,
    /// The key.
    pub public: PublicKey,
}

/// Something that was learnt. `None` where the object is gone or does not count. As JSON it is a piece of the picture
/// that a process begins from while the API server is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fact {
    /// A Profile, by its name.
    Profile(Label, Option<Profile>),
    /// A namespace.
    Namespace(Label, Option<Namespace>),
    /// A RoleBinding, by namespace and name.
    Member(Label, String, Option<Member>),
    /// A Notebook.
    Notebook(NotebookId, Option<Notebook>),
    /// A StatefulSet, by UID.
    StatefulSet(Uid, Option<StatefulSet>),
    /// A Pod, by namespace and name.
    Pod(Label, String, Option<Pod>),
    /// Addresses that are a node's or a Service's, by whose they are.
    Taken(String, BTreeSet<IpAddr>),
    /// All confirmed keys, and the claimed ones with the end of each claim. They are rows, so no picture has them.
    #[serde(skip)]
    Keys(Vec<Key>, BTreeMap<Fingerprint, Time>),
    /// All that was found to be wrong with notebooks, beyond what their objects show. Rows, as keys are.
    #[serde(skip)]
    Troubles(BTreeMap<NotebookId, BTreeSet<Trouble>>),
    /// All namespaces where an admin of Fairlead switched SSH off. Rows, as keys are.
    #[serde(skip)]
    Switches(BTreeSet<Label>),
    /// What policies depend on. No picture has it: whoever writes policies has listed it.
    #[serde(skip)]
    Mesh(MeshFact),
    /// The complete list of a kind: what is not in it is gone.
    All(Kind, Vec<Fact>),
}

impl Fact {
    /// The namespace that a fact is about: of a Profile the one of its name.
    pub(super) const fn namespace(&self) -> Option<&Label> {
        match self {
            Self::Profile(name, _) | Self::Namespace(name, _) | Self::Member(name, ..) | Self::Pod(name, ..) => {
                Some(name)
            }
            Self::Notebook(id, _) => Some(&id.namespace),
            Self::StatefulSet(_, Some(set)) => Some(&set.namespace),
            Self::StatefulSet(_, None)
            | Self::Taken(..)
            | Self::Keys(..)
            | Self::Troubles(_)
            | Self::Switches(_)
            | Self::Mesh(_)
            | Self::All(..) => None,
        }
    }

    /// What tells the object of a fact from others of its kind.
    pub(super) fn object(&self) -> Option<(&str, &str)> {
        match self {
            Self::Profile(name, _) | Self::Namespace(name, _) => Some(("", name.as_str())),
            Self::Member(namespace, name, _) | Self::Pod(namespace, name, _) => Some((namespace.as_str(), name)),
            Self::Notebook(id, _) => Some((id.namespace.as_str(), id.name.as_str())),
            Self::StatefulSet(name, _) | Self::Taken(name, _) => Some(("", name)),
            Self::Keys(..) | Self::Troubles(_) | Self::Switches(_) | Self::Mesh(_) | Self::All(..) => None,
        }
    }
}

/// What [`Fact::All`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Profiles.
    Profile,
    /// Namespaces.
    Namespace,
    /// RoleBindings.
    Member,
    /// Notebooks.
    Notebook,
    /// StatefulSets.
    StatefulSet,
    /// Pods.
    Pod,
    /// Nodes.
    Node,
    /// Services.
    Service,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Profile,
        Self::Namespace,
        Self::Member,
        Self::Notebook,
        Self::StatefulSet,
        Self::Pod,
        Self::Node,
        Self::Service,
    ];

    /// What Kubernetes calls several of it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Profile => "profiles",
            Self::Namespace => "namespaces",
            Self::Member => "rolebindings",
            Self::Notebook => "notebooks",
            Self::StatefulSet => "statefulsets",
            Self::Pod => "pods",
            Self::Node => "nodes",
            Self::Service => "services",
        }
    }
}
