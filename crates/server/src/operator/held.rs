//! A notebook's Secret, as it should be and as it was last written or tried.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use fairlead_model::identity::HostIdentity;
use fairlead_model::world::Uid;
use fairlead_model::{NotebookId, World, plan};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;

use super::deliver::{Delivered, Undelivered};
use super::trouble::Trouble;

/// Waits between tries of what failed: from this,
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// up to this.
const LAST_RETRY: Duration = Duration::from_mins(1);
/// An earlier Notebook's Secret is said to be in the way after this many tries: mostly it goes in seconds.
const LEFTOVER_TRIES: u32 = 3;

/// A Secret as it should be.
pub(super) struct Planned {
    /// The Notebook's UID.
    pub(super) uid: Uid,
    pub(super) secret: Secret,
    pub(super) digest: Vec<u8>,
}

/// What is remembered of a Secret: of its bytes the digest, because thousands of whole ones are much memory.
pub(super) struct Held {
    pub(super) uid: Uid,
    pub(super) digest: Vec<u8>,
    /// The public half of the host key in it.
    pub(super) host_key: Option<ByteString>,
    /// The version in the cluster, once these bytes are there.
    pub(super) version: Option<String>,
    pub(super) trouble: Option<Trouble>,
    failures: u32,
    pub(super) due: Instant,
}

impl Planned {
    /// `None` where there is no such notebook.
    pub(super) fn new(world: &World, id: &NotebookId, host: &HostIdentity) -> Option<Self> {
        let uid = world.notebook(id)?.uid.clone();
        let secret = plan::secret(world, id, host)?;
        // The maps in it are ordered, so the same Secret has the same JSON.
        let digest = digest(&SHA256, &serde_json::to_vec(&secret).ok()?).as_ref().to_vec();
        Some(Self { uid, secret, digest })
    }
}

impl Held {
    /// After a delivery, where there was one `before` or not.
    pub(super) fn after(
        before: Option<Self>,
        planned: Planned,
        done: Result<Delivered, Undelivered>,
        resync: Duration,
    ) -> Self {
        let Planned { uid, mut secret, digest } = planned;
        let host_key = secret.data.as_mut().and_then(|data| data.remove(plan::HOST_KEY_PUBLIC));
        let due = Instant::now() + resync;
        let mut held = Self { uid, digest, host_key, version: None, trouble: None, failures: 0, due };
        match done {
            Ok(Delivered { version, restored, .. }) => {
                if before.is_none() {
                    // Spread over time by name, so that the next round does not come all at once.
                    held.due -= resync.mul_f64(spread(&held.uid) / 2.0);
                }
                held.trouble = restored.then(|| Trouble::SecretRestored(version.clone()));
                held.version = Some(version);
            }
            Err(error) => {
                held.failures = before.map_or(1, |before| before.failures + 1);
                held.due = Instant::now() + LAST_RETRY.min(FIRST_RETRY * 2_u32.pow(held.failures.min(6) - 1));
                held.trouble = match &error {
                    Undelivered::Foreign => Some(Trouble::SecretTaken),
                    Undelivered::Leftover => (held.failures >= LEFTOVER_TRIES).then_some(Trouble::SecretLeftover),
                    Undelivered::Frozen(_) => Some(Trouble::SecretFrozen),
                    Undelivered::Request(_) | Undelivered::Silent => None,
                };
            }
        }
        held
    }
}

/// A number from 0 to 1 that differs by UID, or by another name.
pub(super) fn spread(uid: &str) -> f64 {
    let sum = uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
    f64::from(sum) / f64::from(u32::MAX)
}
