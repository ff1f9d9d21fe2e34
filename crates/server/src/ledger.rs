//! The one writer of the world. Everybody else holds a snapshot.

use std::sync::Arc;

use fairlead_model::{Fact, World};
use tokio::sync::{mpsc, watch};

/// Where facts go in.
pub type Facts = mpsc::Sender<Fact>;
/// Where snapshots come out: borrow one, or wait for the next.
pub type Worlds = watch::Receiver<Arc<World>>;

/// Folds facts into the world until the last sender is gone. Facts that come close together make one snapshot.
#[must_use]
pub fn start(world: World) -> (Facts, Worlds) {
    let (facts, mut incoming) = mpsc::channel(1024);
    let (publish, worlds) = watch::channel(Arc::new(world));
    tokio::spawn(async move {
        let mut batch = Vec::new();
        while incoming.recv_many(&mut batch, 1024).await > 0 {
            let mut world = World::clone(&publish.borrow());
            for fact in batch.drain(..) {
                world.apply(fact);
            }
            publish.send_if_modified(|current| {
                let changed = **current != world;
                if changed {
                    *current = Arc::new(world);
                }
                changed
            });
        }
    });
    (facts, worlds)
}
