//! What gateways and pages of this process show of themselves and tell clients to trust. It comes from the host CA, or
//! from mounted files where this process may not know the CA; whoever takes it does not see which.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use fairlead_model::gateway_identity::{FILES, GatewayIdentity, SECRET};
use fairlead_model::identity::HostIdentity;
use fairlead_model::{HostSuffix, Time};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::identity_store::Identity;

/// How often the certificate is made again, so that it is renewed in time.
const RENEW: Duration = Duration::from_hours(1);
/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// It, as it changes.
#[derive(Debug, Clone)]
pub struct Shown {
    /// The gateway's host key and certificate.
    pub host: watch::Receiver<HostIdentity>,
    /// The lines of `known_hosts` that clients should have now.
    pub known_hosts: watch::Receiver<String>,
}

/// Who publishes it.
struct Publisher {
    host: watch::Sender<HostIdentity>,
    known_hosts: watch::Sender<String>,
    suffix: HostSuffix,
}

impl Shown {
    /// By the host CA: made again every hour and whenever the CA changes. Ends with `stop`.
    pub fn by_authority(
        mut identity: watch::Receiver<Arc<Identity>>,
        suffix: HostSuffix,
        now: fn() -> Time,
        stop: &CancellationToken,
    ) -> Result<Self> {
        let (publisher, shown) = Publisher::new(&identity.borrow_and_update().for_gateways(now())?, suffix);
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                // Either an hour has passed or there is another CA, or nobody renews that any more: the hour remains.
                if matches!(tokio::time::timeout(RENEW, identity.changed()).await, Ok(Err(_))) {
                    tokio::time::sleep(RENEW).await;
                }
                match identity.borrow_and_update().for_gateways(now()) {
                    Ok(made) => publisher.publish(&made),
                    Err(error) => tracing::error!("{error:#}"),
                }
            }
        }));
        Ok(shown)
    }

    /// By files in a folder, which are waited for and followed; those that are no good do not replace others. They are
    /// those of a Secret in `namespace`. `wanting` is told what keeps the first of them from coming. Ends with `stop`.
    pub async fn by_files(
        dir: &Path,
        namespace: &str,
        suffix: HostSuffix,
        now: fn() -> Time,
        stop: &CancellationToken,
        wanting: impl Fn(&str),
    ) -> Self {
        let mut files = Files { dir: dir.to_owned(), namespace: namespace.to_owned(), said: String::new(), last: None };
        let first = loop {
            if let Some(first) = files.look(now(), &wanting) {
                break first;
            }
            tokio::time::sleep(LOOK).await;
        };
        let (publisher, shown) = Publisher::new(&first, suffix);
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Some(read) = files.look(now(), &|_: &str| ()) {
                    publisher.publish(&read);
                    tracing::info!(certificate = read.host.certificate, "the gateway's identity was read again");
                }
            }
        }));
        shown
    }
}

impl Publisher {
    fn new(first: &GatewayIdentity, suffix: HostSuffix) -> (Self, Shown) {
        let (host, hosts) = watch::channel(first.host.clone());
        let (known_hosts, lines) = watch::channel(first.known_hosts(&suffix));
        (Self { host, known_hosts, suffix }, Shown { host: hosts, known_hosts: lines })
    }

    fn publish(&self, identity: &GatewayIdentity) {
        replace(&self.host, identity.host.clone());
        replace(&self.known_hosts, identity.known_hosts(&self.suffix));
    }
}

fn replace<T: PartialEq>(place: &watch::Sender<T>, value: T) {
    place.send_if_modified(|last| {
        let changed = *last != value;
        *last = value;
        changed
    });
}

/// The Secret `fairlead-gateway`, mounted.
struct Files {
    dir: PathBuf,
    namespace: String,
    /// The last complaint: each is said once.
    said: String,
    /// What was good.
    last: Option<BTreeMap<&'static str, Vec<u8>>>,
}

impl Files {
    /// What they say, where that is new and good.
    fn look(&mut self, now: Time, wanting: &dyn Fn(&str)) -> Option<GatewayIdentity> {
        let read = self.read().and_then(|files| {
            if self.last.as_ref() == Some(&files) {
                return Ok(None);
            }
            let identity = GatewayIdentity::read(&files, now)
                .with_context(|| format!("the gateway's identity in `{}` is not usable", self.dir.display()))?;
            Ok(Some((files, identity)))
        });
        let error = match read {
            Ok(read) => {
                self.said.clear();
                let (files, identity) = read?;
                self.last = Some(files);
                return Some(identity);
            }
            Err(error) => error,
        };
        let why = format!("{error:#}");
        let hint =
            format!("kubectl get secret -n {} {SECRET} -o yaml; the operator's leader writes it", self.namespace);
        wanting(&format!("{why}; hint: {hint}"));
        if why != self.said {
            tracing::error!("{why}\nhint: {hint}");
            self.said = why;
        }
        None
    }

    /// All of one moment: a mounted Secret changes by one symlink, `..data`, which leads to a folder that never changes.
    fn read(&self) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let dir = || self.dir.join("..data").canonicalize().unwrap_or_else(|_| self.dir.clone());
        loop {
            let before = dir();
            let files = Self::read_in(&before)?;
            // The folder of before is removed after a change: what was not found in it may have been there.
            if dir() == before {
                return Ok(files);
            }
        }
    }

    fn read_in(dir: &Path) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for name in FILES {
            match std::fs::read(dir.join(name)) {
                Ok(bytes) => drop(files.insert(name, bytes)),
                // Which of them has to be there is not decided here.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("reading `{}`", dir.join(name).display())),
            }
        }
        Ok(files)
    }
}
