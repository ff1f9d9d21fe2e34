//! How this process comes to know what gateways show: by the host CA, or by files where it may not know the CA.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::HostSuffix;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::gateway_identity::Shown;
use crate::identity_store::{Identity, IdentityStore, LOOK};
use crate::web::Readiness;

/// The host CA, once this process knows it.
pub(super) type Known = Arc<OnceLock<watch::Receiver<Arc<Identity>>>>;

/// Where it comes from.
pub(super) enum Source {
    /// The Secret `fairlead-gateway`, mounted.
    Files {
        /// Where.
        dir: PathBuf,
        /// Whose Secret it is.
        namespace: String,
    },
    /// The Secret `fairlead-identity`, which the leader makes, here or elsewhere.
    Made(IdentityStore, Known),
    /// The same, which has to be there already.
    There(IdentityStore),
}

/// What finds it out.
pub(super) struct IdentitySide {
    pub(super) source: Source,
    pub(super) suffix: HostSuffix,
    pub(super) resync: Duration,
    pub(super) readiness: Arc<Readiness>,
    pub(super) over: CancellationToken,
}

/// What gateways and pages show, once it is known.
#[derive(Clone)]
pub(super) struct Showing(watch::Receiver<Option<Shown>>);

impl Showing {
    /// Waits until it is known.
    pub(super) async fn known(mut self) -> Result<Shown> {
        let known = self.0.wait_for(Option::is_some).await.map(|shown| shown.clone());
        known.ok().flatten().context("waiting for the gateway's identity")
    }
}

impl IdentitySide {
    /// The work, which goes on until it fails, and what comes of it.
    pub(super) fn begin(self) -> (impl Future<Output = Result<()>> + Send + 'static, Showing) {
        let (publish, showing) = watch::channel(None);
        let work = async move {
            let Self { source, suffix, resync, readiness, over } = self;
            let follow = |kept: IdentityStore, first: Identity| kept.follow(first, resync.min(LOOK), &over);
            let by_authority =
                |identity: watch::Receiver<_>| Shown::by_authority(identity, suffix.clone(), clock::now, &over);
            let shown = match source {
                Source::Files { dir, namespace } => {
                    let wanting = |why: &str| readiness.wait_for("identity", why);
                    Shown::by_files(&dir, &namespace, suffix, clock::now, &over, wanting).await
                }
                Source::There(kept) => {
                    let first = kept.load().await?;
                    by_authority(follow(kept, first))?
                }
                Source::Made(kept, known) => {
                    let first = kept.wait_made().await?;
                    by_authority(known.get_or_init(|| follow(kept, first)).clone())?
                }
            };
            publish.send_replace(Some(shown));
            readiness.met("identity");
            // Whoever asks may do so later.
            std::future::pending().await
        };
        (work, Showing(showing))
    }
}
