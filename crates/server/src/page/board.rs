//! The notebooks as the page shows them, made once for each change and shared by everybody who looks: two hundred open
//! pages cost no more making than one.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::state::{State, state};
use fairlead_model::world::Shown;
use fairlead_model::{HostSuffix, Label, NotebookId, Person, Role, Time, World};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::ledger::Worlds;
use crate::store::Store;

/// Changes that come close together are shown together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// How long after one look at rows of sessions comes the next: they come from gateways in other processes.
const LOOK: Duration = Duration::from_secs(1);

/// A notebook on the page.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Row {
    pub(super) host: String,
    pub(super) state: State,
    pub(super) shown: Shown,
    /// Its Pod's address, where it has one.
    pub(super) ip: Option<IpAddr>,
    /// Sessions now.
    pub(super) live: usize,
    /// When the last session began.
    pub(super) last: Option<Time>,
}

/// All of them.
pub(super) type Rows = BTreeMap<NotebookId, (u64, Row)>;

/// What a page is made of: the snapshot that its roles come from, and the rows made of it.
#[derive(Debug, Clone)]
pub(super) struct Board {
    pub(super) world: Arc<World>,
    pub(super) rows: Arc<Rows>,
}

/// Sessions by notebook.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sessions {
    live: BTreeMap<NotebookId, usize>,
    last: BTreeMap<NotebookId, Time>,
}

/// Keeps the board up to date until its last reader is gone.
pub(super) fn follow(mut worlds: Worlds, store: Store, suffix: HostSuffix) -> watch::Receiver<Board> {
    let world = worlds.borrow_and_update().clone();
    let mut sessions = look(store);
    let rows = Arc::new(make(&world, &sessions.borrow_and_update(), &suffix));
    let (board, boards) = watch::channel(Board { world, rows });
    tokio::spawn(async move {
        loop {
            let changed = tokio::select! {
                () = board.closed() => return,
                changed = worlds.changed() => {
                    if changed.is_ok() {
                        sleep(DEBOUNCE).await;
                    }
                    changed
                }
                changed = sessions.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            let world = worlds.borrow_and_update().clone();
            let rows = Arc::new(make(&world, &sessions.borrow_and_update(), &suffix));
            board.send_replace(Board { world, rows });
        }
    });
    boards
}

/// Reads sessions again and again until nobody wants them. Beside the board, because a database that hangs must not
/// keep what the cluster says from counting.
fn look(store: Store) -> watch::Receiver<Sessions> {
    let (sessions, reader) = watch::channel(Sessions::default());
    tokio::spawn(async move {
        let reading = async {
            loop {
                match read(&store).await {
                    Ok(now) => {
                        sessions.send_if_modified(|seen| {
                            let is_new = *seen != now;
                            *seen = now;
                            is_new
                        });
                    }
                    // Those read last stay.
                    Err(error) => tracing::debug!("reading sessions for the page: {error:#}"),
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = sessions.closed() => {}
            () = reading => {}
        }
    });
    reader
}

async fn read(store: &Store) -> Result<Sessions> {
    let live = store.live_sessions().await.context("live ones")?;
    let last = store.last_sessions().await.context("last ones")?;
    let mut sessions = Sessions { live: BTreeMap::new(), last: BTreeMap::new() };
    for session in live {
        *sessions.live.entry(session.notebook).or_default() += 1;
    }
    sessions.last = last.into_iter().map(|(id, (at, _))| (id, at)).collect();
    Ok(sessions)
}

fn make(world: &World, sessions: &Sessions, suffix: &HostSuffix) -> Rows {
    let row = |(id, notebook): (&NotebookId, &fairlead_model::world::Notebook)| {
        let row = Row {
            host: id.host(suffix),
            state: state(world, id),
            shown: notebook.shown.clone(),
            ip: world.pods_of(id).find_map(|(_, pod)| pod.ip),
            live: sessions.live.get(id).copied().unwrap_or(0),
            // One of the same name may have been there before.
            last: sessions.last.get(id).copied().filter(|last| *last >= notebook.shown.created),
        };
        let mut hasher = DefaultHasher::new();
        row.hash(&mut hasher);
        (id.clone(), (hasher.finish(), row))
    };
    world.notebooks().map(row).collect()
}

impl Board {
    /// What a person sees: the notebooks of the profiles where they have a role, or of one of those.
    pub(super) fn of<'a>(
        &'a self,
        person: &'a Person,
        namespace: Option<&'a Label>,
    ) -> impl Iterator<Item = (&'a NotebookId, Role, u64, &'a Row)> {
        let mut seen: Option<(&Label, Option<Role>)> = None;
        self.rows.iter().filter_map(move |(id, (version, row))| {
            if namespace.is_some_and(|namespace| *namespace != id.namespace) {
                return None;
            }
            // In order of namespaces: each is asked for once.
            let role = match seen {
                Some((of, role)) if *of == id.namespace => role,
                _ => self.world.role(person, &id.namespace),
            };
            seen = Some((&id.namespace, role));
            Some((id, role?, *version, row))
        })
    }
}
