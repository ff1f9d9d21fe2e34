//! What admins of Fairlead see and switch. Every function asks first whether the visitor is one; others hear that there
//! is no such thing.

use std::collections::BTreeMap;

use fairlead_model::state::State;
use fairlead_model::{Label, Person, Role, World};
use serde::{Serialize, Serializer};

use super::keys::{self, KeyView};
use super::notebooks::NotebookView;
use super::{Page, Refused, Visitor, when};
use crate::clock::now;
use crate::store::audit::AuditEvent;

/// How many people, keys or namespaces are shown at once.
pub(super) const SHOWN: usize = 200;

/// A part of the server. Times are Unix milliseconds.
#[derive(Debug, Clone, Serialize)]
pub(super) struct PartView {
    pub(super) part: String,
    pub(super) seen_ms: i64,
    /// Whether it was seen within the last minute.
    pub(super) healthy: bool,
}

impl PartView {
    /// When it was last seen.
    pub(super) fn seen(&self) -> String {
        when::minute(self.seen_ms)
    }
}

/// A profile's namespace.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NamespaceView {
    pub(super) namespace: String,
    pub(super) owner: Option<String>,
    pub(super) notebooks: usize,
    /// Who switched SSH off here, where somebody has.
    pub(super) off_by: Option<String>,
    pub(super) off_since_ms: Option<i64>,
}

/// Somebody with a role or a key.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct PersonView {
    pub(super) person: String,
    /// Namespace and role.
    #[serde(serialize_with = "profiles")]
    pub(super) profiles: Vec<(String, &'static str)>,
    /// Keys that count.
    pub(super) keys: usize,
    pub(super) live_sessions: usize,
}

/// How the whole stands.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    pub(super) parts: Vec<PartView>,
    /// Lines of `known_hosts`.
    pub(super) known_hosts: String,
    pub(super) notebooks: usize,
    /// Notebooks that should let people in and do not.
    pub(super) problems: Vec<NotebookView>,
}

/// Refuses who is no admin, as if there were nothing.
pub(super) fn only(visitor: &Visitor) -> Result<(), Refused> {
    if visitor.admin { Ok(()) } else { Err(Refused::NotFound) }
}

pub(super) async fn overview(page: &Page, visitor: &Visitor) -> Result<Overview, Refused> {
    only(visitor)?;
    let late = now().plus_seconds(-60);
    let parts = page.store.parts().await?.into_iter();
    let parts = parts.map(|(part, seen)| PartView { part, seen_ms: seen.0, healthy: seen > late }).collect();
    let board = page.board.borrow().clone();
    let fine = |state| matches!(state, State::Running | State::Starting | State::Stopped | State::Off);
    let problems = board.rows.iter().filter(|(_, (_, row))| !fine(row.state));
    // An admin of Fairlead is nothing in a profile by that: sees, and does not connect.
    let problems = problems.map(|(id, (_, row))| NotebookView::new(id, Role::View, row)).take(SHOWN).collect();
    Ok(Overview { parts, known_hosts: page.known_hosts.borrow().clone(), notebooks: board.rows.len(), problems })
}

pub(super) async fn namespaces(page: &Page, visitor: &Visitor, text: &str) -> Result<Vec<NamespaceView>, Refused> {
    only(visitor)?;
    let world = page.worlds.borrow().clone();
    let rows = page.store.list_switches().await?;
    let switched: BTreeMap<&Label, _> = rows.iter().map(|row| (&row.namespace, row)).collect();
    let mut notebooks = BTreeMap::<&Label, usize>::new();
    for (id, _) in world.notebooks() {
        *notebooks.entry(&id.namespace).or_default() += 1;
    }
    let view = |namespace: &Label| {
        let row = switched.get(namespace);
        NamespaceView {
            namespace: namespace.to_string(),
            owner: owner(&world, namespace).map(ToString::to_string),
            notebooks: notebooks.get(namespace).copied().unwrap_or(0),
            off_by: row.map(|row| row.person.to_string()),
            off_since_ms: row.map(|row| row.at.0),
        }
    };
    let fits = |view: &NamespaceView| {
        contains(&view.namespace, text) || view.owner.as_ref().is_some_and(|owner| contains(owner, text))
    };
    Ok(world.profiles().map(view).filter(fits).collect())
}

/// Switches SSH in a profile's namespace.
pub(super) async fn switch(page: &Page, visitor: &Visitor, namespace: &str, on: bool) -> Result<(), Refused> {
    only(visitor)?;
    let namespace = Label::parse(namespace).map_err(|_| Refused::NotFound)?;
    if !page.worlds.borrow().profiles().any(|other| *other == namespace) {
        return Err(Refused::NotFound);
    }
    if on {
        page.store.switch_on(&namespace).await?;
    } else {
        page.store.switch_off(&namespace, &visitor.person, now()).await?;
    }
    page.recorder.audit(AuditEvent {
        at: now(),
        event: if on { "ssh-switched-on" } else { "ssh-switched-off" }.to_owned(),
        person: Some(visitor.person.to_string()),
        from: visitor.from.map(|from| from.to_string()),
        object: Some(namespace.to_string()),
        detail: None,
    });
    Ok(())
}

pub(super) async fn people(page: &Page, visitor: &Visitor, text: &str) -> Result<Vec<PersonView>, Refused> {
    only(visitor)?;
    let world = page.worlds.borrow().clone();
    let mut people = BTreeMap::<Person, PersonView>::new();
    for namespace in world.profiles() {
        for (person, role) in world.people_of(namespace) {
            let view = people.entry(person.clone()).or_default();
            view.profiles.push((namespace.to_string(), role.word()));
        }
    }
    for key in keys::list(page, None).await?.iter().filter(|key| key.state == "counts") {
        let Ok(person) = Person::parse(&key.person) else { continue };
        people.entry(person).or_default().keys += 1;
    }
    for session in page.store.live_sessions().await? {
        people.entry(session.person).or_default().live_sessions += 1;
    }
    let named = people.into_iter().map(|(person, view)| PersonView { person: person.to_string(), ..view });
    Ok(named.filter(|view| contains(&view.person, text)).collect())
}

pub(super) async fn all_keys(page: &Page, visitor: &Visitor, text: &str) -> Result<Vec<KeyView>, Refused> {
    only(visitor)?;
    let keys = keys::list(page, None).await?.into_iter();
    Ok(keys.filter(|key| [&key.person, &key.fingerprint, &key.name].iter().any(|of| contains(of, text))).collect())
}

/// As objects, which JSON's readers expect where two things have names.
fn profiles<S: Serializer>(profiles: &[(String, &'static str)], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Profile<'a> {
        namespace: &'a str,
        role: &'a str,
    }
    serializer.collect_seq(profiles.iter().map(|(namespace, role)| Profile { namespace, role }))
}

fn owner<'a>(world: &'a World, namespace: &Label) -> Option<&'a Person> {
    world.people_of(namespace).into_iter().find(|(_, role)| *role == Role::Owner).map(|(person, _)| person)
}

fn contains(text: &str, piece: &str) -> bool {
    text.to_lowercase().contains(&piece.to_lowercase())
}
