//! What a pass knows of Pods: whether their sshd greets, and what is wrong with their notebooks.

use std::collections::BTreeSet;

use fairlead_model::world::{self, Pod};
use fairlead_model::{NotebookId, World, access, plan};
use tokio::sync::mpsc;

use super::State;
use crate::operator::probe;
use crate::operator::trouble::Trouble;

/// What is known of a Pod.
#[derive(Default)]
pub(super) struct Known {
    /// For which version of its Secret it was touched.
    pub(super) touched: Option<String>,
    sshd: Sshd,
}

/// What is known of a Pod's sshd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Sshd {
    /// It was not dialled.
    #[default]
    Unknown,
    /// It is dialled.
    Dialled,
    /// It greeted.
    Greeted,
    /// It is still dialled, and has been long enough to say that there is none.
    Missing,
}

impl State {
    /// Dials Pods that are new.
    pub(super) fn probe(&mut self, world: &World, looked: &[NotebookId]) {
        for id in looked {
            let Some(candidate) = probe::candidate(world, id) else { continue };
            let mounted = world.pods_of(id).all(|(_, pod)| plan::is_mounted(id, pod));
            let pods = self.pods.entry(id.clone()).or_default();
            let known = pods.entry(candidate.uid.clone()).or_default();
            if mounted && known.sshd == Sshd::Unknown {
                known.sshd = Sshd::Dialled;
                self.prober.start(id, candidate);
            }
        }
    }

    /// Takes up what was found by dialling, and whatever else has been found meanwhile.
    pub(in crate::operator) async fn take_found(&mut self, found: &mut mpsc::Receiver<probe::Found>) {
        let mut next = found.recv().await;
        if next.is_none() {
            std::future::pending::<()>().await;
        }
        while let Some((id, uid, greeted)) = next {
            if let Some(known) = self.pods.get_mut(&id).and_then(|pods| pods.get_mut(&uid)) {
                known.sshd = if greeted { Sshd::Greeted } else { Sshd::Missing };
                self.waiting.insert(id);
            }
            next = found.try_recv().ok();
        }
    }

    /// Tells what is wrong with each of these, and what its objects do not show.
    pub(super) fn tell(&mut self, world: &World, looked: &[NotebookId]) {
        for id in looked {
            let Some(notebook) = world.notebook(id) else { continue };
            let mut troubles: BTreeSet<Trouble> =
                self.held.get(id).and_then(|held| held.trouble.clone()).into_iter().collect();
            if access::enabled(world, id).is_ok() && !notebook.stopped {
                let pods: Vec<&Pod> = world.pods_of(id).map(|(_, pod)| pod).collect();
                troubles.extend((pods.len() > 1).then_some(Trouble::Ambiguous));
                for pod in pods {
                    if !plan::is_mounted(id, pod) {
                        troubles.insert(Trouble::NotMounted(pod.uid.clone()));
                    } else if self.sshd(id, pod) == Sshd::Missing {
                        troubles.insert(Trouble::NoSshd(pod.uid.clone()));
                    }
                }
            }
            let mut shown: BTreeSet<_> = troubles.iter().filter_map(Trouble::found).collect();
            // What was found before this process began stays until it has looked for itself.
            let is_probing = world.pods_of(id).any(|(_, pod)| self.sshd(id, pod) == Sshd::Dialled);
            shown.extend(world.troubles(id).filter(|it| *it == world::Trouble::NoSshd && is_probing));
            self.found.put(id, shown);
            self.troubles.put(id, &notebook.uid, troubles);
        }
    }

    fn sshd(&self, id: &NotebookId, pod: &Pod) -> Sshd {
        self.pods.get(id).and_then(|pods| pods.get(&pod.uid)).map_or(Sshd::Unknown, |known| known.sshd)
    }
}
