//! Who reaches which notebook. The only place that makes a [`Grant`], and dialling a notebook takes one.

use std::net::{IpAddr, SocketAddr};

use crate::name::NotebookId;
use crate::person::{Person, Role};
use crate::world::{DefaultSsh, Notebook, Switch, Uid, World};

pub use crate::state::{State, state};

/// sshd's port in every notebook.
pub const SSHD_PORT: u16 = 2209;

/// The right of one person to reach one Pod now. Made by [`decide`] alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    person: Person,
    role: Role,
    notebook: NotebookId,
    pod: Uid,
    ip: IpAddr,
}

/// Why not. What a person is told depends on whether they have a role in the profile: [`Denied::told`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denied {
    /// No role in the profile, or no such profile.
    Stranger,
    /// The role `view`: ssh is a shell.
    Viewer,
    /// No such notebook in a profile where the person works.
    NoNotebook,
    /// Switched off by an admin of Fairlead or on the namespace, or nobody switched it on.
    DisabledByAdmin,
    /// Switched off on the notebook.
    DisabledByUser,
    /// It has Kubeflow's stop annotation.
    Stopped,
    /// No Pod of it has an address yet.
    Starting,
    /// Several Pods claim to be it.
    Ambiguous,
    /// Its Pod's address is one that no Pod of its own can have.
    BadAddress,
}

/// Decides whether `person` may reach `target` now.
pub fn decide(world: &World, person: &Person, target: &NotebookId) -> Result<Grant, Denied> {
    let (role, notebook) = works_in(world, person, target)?;
    enabled(world, target)?;
    if notebook.stopped {
        return Err(Denied::Stopped);
    }
    let mut pods = world.pods_of(target).map(|(_, pod)| pod);
    let pod = pods.next().ok_or(Denied::Starting)?;
    if pods.next().is_some() {
        return Err(Denied::Ambiguous);
    }
    let ip = pod.ip.ok_or(Denied::Starting)?;
    if !is_dialable(world, ip) {
        return Err(Denied::BadAddress);
    }
    Ok(Grant { person: person.clone(), role, notebook: target.clone(), pod: pod.uid.clone(), ip })
}

/// Decides whether `person` may start and stop `target`: who opens shells in its profile may, as in Kubeflow. Whether
/// SSH is on does not matter.
pub fn may_operate(world: &World, person: &Person, target: &NotebookId) -> Result<(), Denied> {
    works_in(world, person, target).map(drop)
}

fn works_in<'a>(world: &'a World, person: &Person, target: &NotebookId) -> Result<(Role, &'a Notebook), Denied> {
    let role = world.role(person, &target.namespace).ok_or(Denied::Stranger)?;
    if !role.opens_shells() {
        return Err(Denied::Viewer);
    }
    Ok((role, world.notebook(target).ok_or(Denied::NoNotebook)?))
}

/// Whether the switches let SSH be on: an admin's on Fairlead's page wins over those in the cluster, and there the
/// namespace's, which is also an admin's, over the notebook's.
pub fn enabled(world: &World, target: &NotebookId) -> Result<(), Denied> {
    if world.is_switched_off(&target.namespace) {
        return Err(Denied::DisabledByAdmin);
    }
    let space = world.switch(&target.namespace);
    let notebook = world.notebook(target).map_or(Switch::Unset, |notebook| notebook.ssh);
    match (space, notebook, world.default_ssh) {
        (Switch::Disabled, _, _) | (Switch::Unset, Switch::Unset, DefaultSsh::OptIn) => Err(Denied::DisabledByAdmin),
        (_, Switch::Disabled, _) => Err(Denied::DisabledByUser),
        (Switch::Enabled, _, _) | (_, Switch::Enabled, _) | (_, _, DefaultSsh::OptOut) => Ok(()),
    }
}

/// Everybody whose keys belong into a notebook's `authorized_keys`: who opens shells in its profile, while SSH is on.
#[must_use]
pub fn reach<'a>(world: &'a World, target: &NotebookId) -> Vec<&'a Person> {
    if world.notebook(target).is_none() || enabled(world, target).is_err() {
        return Vec::new();
    }
    let people = world.people_of(&target.namespace).into_iter();
    people.filter(|(_, role)| role.opens_shells()).map(|(person, _)| person).collect()
}

/// Whether an address can be a Pod's own: none that means this machine, a link or a group, nor a node's or a Service's.
pub(crate) fn is_dialable(world: &World, ip: IpAddr) -> bool {
    let special = match ip {
        IpAddr::V4(ip) => {
            ip.is_unspecified() || ip.is_loopback() || ip.is_link_local() || ip.is_multicast() || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            let mapped = ip.to_ipv4_mapped().is_some();
            mapped || ip.is_unspecified() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast()
        }
    };
    !special && !world.is_taken(ip)
}

impl Grant {
    /// Who.
    #[must_use]
    pub const fn person(&self) -> &Person {
        &self.person
    }

    /// As what.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Which notebook.
    #[must_use]
    pub const fn notebook(&self) -> &NotebookId {
        &self.notebook
    }

    /// The UID of its Pod.
    #[must_use]
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// Where its sshd listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, SSHD_PORT)
    }
}

impl Denied {
    /// The word for logs, metrics and the database.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Viewer => "viewer",
            Self::NoNotebook => "no-notebook",
            Self::DisabledByAdmin => "disabled-by-admin",
            Self::DisabledByUser => "disabled-by-user",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Ambiguous => "ambiguous",
            Self::BadAddress => "bad-address",
        }
    }

    /// The sentence for the person, in ASCII: OpenSSH prints nothing else. Strangers get one and the same, whatever is
    /// there; who has a role in the profile gets the reason.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Stranger => "no such notebook, or it is not yours",
            Self::Viewer => "your role in this profile is `view`, which opens no shell: ask its owner for `edit`",
            Self::NoNotebook => "there is no notebook of this name in the profile",
            Self::DisabledByAdmin => "SSH is not switched on for this profile",
            Self::DisabledByUser => "SSH is switched off for this notebook",
            Self::Stopped => "the notebook is stopped: start it in the dashboard",
            Self::Starting => "the notebook is starting: try again in a moment",
            Self::Ambiguous => "several Pods claim to be this notebook: delete the one that is not",
            Self::BadAddress => "the notebook's Pod has an address that is not its own",
        }
    }
}
