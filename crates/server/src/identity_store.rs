//! The host CA and the master secret, in one Secret of Fairlead's own namespace: made once, and never again in silence.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::identity::{Authority, HostIdentity, Master, host_identity};
use fairlead_model::plan::MANAGER;
use fairlead_model::{HostSuffix, Time, client_config};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::is_answer;
use crate::random;
use crate::store::Store;

/// The Secret's name.
pub const SECRET: &str = "fairlead-identity";
/// The CA's private key, as OpenSSH writes it.
const CA: &str = "ca";
/// The CA to come, while a rotation is under way.
const NEXT: &str = "ca-next";
/// 32 bytes from which host keys are derived.
const MASTER: &str = "master";

/// CA and master secret. It prints without what is secret.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Signs host certificates.
    pub authority: Authority,
    /// The CA to come, while a rotation is under way: clients should know it already.
    pub next: Option<Authority>,
    /// What host keys are derived from.
    pub master: Master,
}

/// Where CA and master secret are.
#[derive(Debug, Clone)]
pub struct IdentityStore {
    secrets: Api<Secret>,
    namespace: String,
    store: Store,
    files: Option<PathBuf>,
    adopt: bool,
}

impl Identity {
    /// The host identity of the gateway at a moment.
    pub fn gateway(&self, now: Time) -> Result<HostIdentity> {
        host_identity(&self.master, &self.authority, "gateway", 0, GATEWAY_ALIAS, now)
            .context("making the gateway's host identity")
    }

    /// The public lines of all CAs that clients should trust now: one, and the next during a rotation.
    #[must_use]
    pub fn public_lines(&self) -> Vec<String> {
        std::iter::once(&self.authority).chain(&self.next).map(Authority::public_line).collect()
    }

    /// The lines of `known_hosts` for all of them.
    #[must_use]
    pub fn known_hosts(&self, suffix: &HostSuffix) -> String {
        self.public_lines().iter().map(|line| client_config::known_hosts(suffix, line)).collect()
    }

    fn make() -> Result<Self> {
        let ca = Authority::generate(&random::bytes()?).context("making a host CA")?;
        Self::parse(&new_secret("", &ca, &random::bytes()?))
    }

    fn parse(secret: &Secret) -> Result<Self> {
        let data = secret.data.as_ref();
        let field = |name: &str| data.and_then(|data| data.get(name)).map(|bytes| bytes.0.as_slice());
        let authority = |bytes: &[u8]| Authority::from_openssh(&String::from_utf8_lossy(bytes));
        Ok(Self {
            authority: authority(field(CA).unwrap_or_default()).context("reading `ca`")?,
            next: field(NEXT).map(authority).transpose().context("reading `ca-next`")?,
            master: Master::from_bytes(field(MASTER).unwrap_or_default()).context("reading `master`")?,
        })
    }
}

impl IdentityStore {
    /// That of one Fairlead: its namespace and its database.
    #[must_use]
    pub fn new(client: Client, namespace: &str, store: Store) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            namespace: namespace.to_owned(),
            store,
            files: None,
            adopt: false,
        }
    }

    /// With a folder where the Secret is mounted, which is read while the API server does not answer.
    #[must_use]
    pub fn with_files(self, files: Option<PathBuf>) -> Self {
        Self { files, ..self }
    }

    /// Whether a database that belongs to no host CA yet may take one that was there before it.
    #[must_use]
    pub fn adopting(self, adopt: bool) -> Self {
        Self { adopt, ..self }
    }

    /// As [`IdentityStore::load_or_create`], and waits for an API server that does not answer.
    pub async fn wait(&self) -> Result<Identity> {
        loop {
            match self.load_or_create().await {
                Err(error) if error.is::<kube::Error>() => tracing::warn!("no host CA yet: {error:#}"),
                done => return done,
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    /// Reads it; makes it where there is none and no row depends on one. Fails where the database belongs to another:
    /// a new CA would make every host unknown to everybody's client. Fails too where the Secret was there before the
    /// database: a lost database forgets which host keys were replaced because somebody left who could read them.
    ///
    /// Whoever finds no Secret notes that in the database before making one. So of several that start at once with one
    /// database each takes what any of them made, and so does the next start after a crash between the two.
    pub async fn load_or_create(&self) -> Result<Identity> {
        loop {
            let known = self.store.authority().await?;
            let found = match (self.get().await, self.read_files()) {
                (Err(error), Some(mounted)) => {
                    tracing::warn!("taking the host CA from the mounted files: {error:#}");
                    Some(mounted)
                }
                (found, _) => found?,
            };
            let Some(secret) = found else {
                if let Some(known) = known {
                    bail!(
                        "the Secret `{}` is gone, and the database belongs to the host CA `{known}`, which was in it\n\
                         hint: kubectl apply -f BACKUP-OF-{SECRET}.yaml",
                        self.place()
                    );
                }
                self.store.expect_authority().await?;
                self.create().await?;
                continue;
            };
            let identity = self.parse(&secret)?;
            match known {
                Some(known) if !identity.public_lines().contains(&known) => bail!(
                    "the Secret `{}` has another host CA than the database, which belongs to `{known}`\n\
                     hint: kubectl apply -f BACKUP-OF-{SECRET}.yaml",
                    self.place()
                ),
                Some(_) => {}
                // Asked after the Secret was found: whoever made it with this database had noted that before.
                None if self.adopt || self.store.expects_authority().await? => {
                    self.store.set_authority(&identity.authority.public_line()).await?;
                }
                None => bail!(
                    "the Secret `{}` is older than the database, which is new or was lost: restore the database. \
                     Without it everybody's keys are gone, and host keys that people could read who left are in use \
                     again\nhint: fairlead-server serve --adopt-identity",
                    self.place()
                ),
            }
            return Ok(identity);
        }
    }

    /// Reads it and changes nothing; one that lasts as long as this process where there is none.
    pub async fn load_or_pretend(&self) -> Result<Identity> {
        match self.get().await? {
            Some(secret) => self.parse(&secret),
            None => Identity::make(),
        }
    }

    /// Reads it.
    pub async fn load(&self) -> Result<Identity> {
        let secret = self.get().await?.with_context(|| {
            format!("there is no Secret `{}` yet\nhint: it is made when the server starts", self.place())
        })?;
        self.parse(&secret)
    }

    /// Begins a rotation: makes the CA to come, which clients must know before [`IdentityStore::finish_rotation`].
    /// Begun already, it changes nothing.
    pub async fn begin_rotation(&self) -> Result<Identity> {
        let mut secret = self.get().await?.context("there is no CA yet: start the server once")?;
        if self.parse(&secret)?.next.is_none() {
            let next = Authority::generate(&random::bytes()?).context("making a host CA")?;
            secret.data.get_or_insert_default().insert(NEXT.to_owned(), ByteString(next.into_bytes()));
            secret = self.replace(&secret).await?;
        }
        self.parse(&secret)
    }

    /// Ends a rotation: from now on only the next CA signs and is listed.
    pub async fn finish_rotation(&self) -> Result<Identity> {
        let mut secret = self.get().await?.context("there is no CA yet: start the server once")?;
        let identity = self.parse(&secret)?;
        let Some(next) = identity.next else {
            bail!("no rotation is under way\nhint: fairlead-server ca rotate");
        };
        // The database first: a start between the two finds its CA as the next one.
        self.store.set_authority(&next.public_line()).await?;
        let data = secret.data.get_or_insert_default();
        if let Some(next) = data.remove(NEXT) {
            data.insert(CA.to_owned(), next);
        }
        self.parse(&self.replace(&secret).await?)
    }

    /// Reads it again every `every`, so that a rotation reaches running servers. What cannot be read does not count.
    #[must_use]
    pub fn follow(self, first: Identity, every: Duration, stop: &CancellationToken) -> watch::Receiver<Arc<Identity>> {
        let mut lines = first.public_lines();
        let (publish, identity) = watch::channel(Arc::new(first));
        let stop = stop.clone();
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                tokio::time::sleep(every).await;
                match self.load().await {
                    Ok(now) if now.public_lines() != lines => {
                        lines = now.public_lines();
                        tracing::info!(authorities = lines.len(), "the host CA has changed");
                        publish.send_replace(Arc::new(now));
                    }
                    Ok(_) => {}
                    Err(error) => tracing::error!("reading the host CA again: {error:#}"),
                }
            }
        }));
        identity
    }

    async fn get(&self) -> Result<Option<Secret>> {
        self.secrets.get_opt(SECRET).await.with_context(|| format!("reading the Secret `{}`", self.place()))
    }

    /// The Secret as it is mounted, where it is.
    fn read_files(&self) -> Option<Secret> {
        let dir = self.files.as_ref()?;
        let read = |name: &str| Some((name.to_owned(), ByteString(std::fs::read(dir.join(name)).ok()?)));
        let data = [read(CA)?, read(MASTER)?].into_iter().chain(read(NEXT)).collect();
        Some(Secret { data: Some(data), ..Secret::default() })
    }

    /// Makes it; whoever else does so at the same time may be first.
    async fn create(&self) -> Result<()> {
        let ca = Authority::generate(&random::bytes()?).context("making a host CA")?;
        let secret = new_secret(&self.namespace, &ca, &random::bytes()?);
        match self.secrets.create(&PostParams::default(), &secret).await {
            Ok(_) => {
                tracing::warn!(secret = self.place(), "made a host CA: keep a backup of this Secret");
                Ok(())
            }
            Err(error) if is_answer(&error, 409) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("making the Secret `{}`", self.place())),
        }
    }

    /// Replaces it, unless somebody else changed it since it was read.
    async fn replace(&self, secret: &Secret) -> Result<Secret> {
        let replaced = self.secrets.replace(&secret.name_any(), &PostParams::default(), secret).await;
        replaced.with_context(|| format!("changing the Secret `{}`", self.place()))
    }

    fn parse(&self, secret: &Secret) -> Result<Identity> {
        Identity::parse(secret).with_context(|| {
            format!("the Secret `{}` is damaged\nhint: kubectl apply -f BACKUP-OF-{SECRET}.yaml", self.place())
        })
    }

    fn place(&self) -> String {
        format!("{}/{SECRET}", self.namespace)
    }
}

/// The gateway's host identity, made again every hour and whenever the CA changes.
pub fn gateway_identity(
    mut identity: watch::Receiver<Arc<Identity>>,
    now: fn() -> Time,
    stop: &CancellationToken,
) -> Result<watch::Receiver<HostIdentity>> {
    let first = identity.borrow_and_update().gateway(now())?;
    let (publish, gateway) = watch::channel(first);
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        loop {
            // Either an hour has passed or there is another CA, or nobody renews that any more: the hour remains.
            if matches!(tokio::time::timeout(Duration::from_hours(1), identity.changed()).await, Ok(Err(_))) {
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
            match identity.borrow_and_update().gateway(now()) {
                Ok(made) => drop(publish.send_if_modified(|last| {
                    let changed = *last != made;
                    *last = made;
                    changed
                })),
                Err(error) => tracing::error!("{error:#}"),
            }
        }
    }));
    Ok(gateway)
}

/// The lines of `known_hosts` for the CAs that clients should trust, as they change. Ends with `stop`.
#[must_use]
pub fn known_hosts(
    mut identity: watch::Receiver<Arc<Identity>>,
    suffix: HostSuffix,
    stop: &CancellationToken,
) -> watch::Receiver<String> {
    let (publish, lines) = watch::channel(identity.borrow_and_update().known_hosts(&suffix));
    tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        while identity.changed().await.is_ok() {
            publish.send_replace(identity.borrow_and_update().known_hosts(&suffix));
        }
    }));
    lines
}

fn new_secret(namespace: &str, ca: &str, master: &[u8; 32]) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned())].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(
            [(CA.to_owned(), ByteString(ca.as_bytes().to_vec())), (MASTER.to_owned(), ByteString(master.to_vec()))]
                .into(),
        ),
        ..Secret::default()
    }
}
