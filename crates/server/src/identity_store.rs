//! The host CA and the master secret, in one Secret of Fairlead's own namespace: made once, and never again in silence.

mod follow;
mod identity;
mod rotation;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fairlead_model::identity::Authority;
use fairlead_model::plan::MANAGER;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt};
use tokio::time::timeout;

use crate::cluster::is_answer;
use crate::random;
use crate::store::Store;

pub use identity::Identity;

/// The Secret's name.
pub const SECRET: &str = "fairlead-identity";
/// The CA's private key, as OpenSSH writes it.
const CA: &str = "ca";
/// The CA to come, while a rotation is under way.
const NEXT: &str = "ca-next";
/// The public lines of CAs that were withdrawn because somebody else may have had them, one a line.
const REVOKED: &str = "revoked";
/// 32 bytes from which host keys are derived.
const MASTER: &str = "master";

/// How long reading it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon running servers know that the Secret was changed.
pub const LOOK: Duration = Duration::from_secs(10);

/// Where CA and master secret are.
#[derive(Debug, Clone)]
pub struct IdentityStore {
    secrets: Api<Secret>,
    namespace: String,
    store: Store,
    files: Option<PathBuf>,
    adopt: bool,
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
            let Some(secret) = self.get_or_read_files(known.as_deref()).await? else {
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
                Some(known) => self.vet(&identity, &known)?,
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

    /// Waits until it is there and the database belongs to it, and makes nothing: a leader does. Fails where the database
    /// belongs to another.
    pub async fn wait_made(&self) -> Result<Identity> {
        loop {
            if let Some(known) = self.store.authority().await? {
                match self.get_or_read_files(Some(&known)).await {
                    Ok(Some(secret)) => {
                        let identity = self.parse(&secret)?;
                        self.vet(&identity, &known)?;
                        return Ok(identity);
                    }
                    // Whoever leads says so.
                    Ok(None) => {}
                    Err(error) => tracing::warn!("no host CA yet: {error:#}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
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

    async fn get(&self) -> Result<Option<Secret>> {
        let silent = || format!("no answer from the API server in {} s", PATIENCE.as_secs());
        let read = timeout(PATIENCE, self.secrets.get_opt(SECRET)).await;
        let read = read.unwrap_or_else(|_| Err(kube::Error::Service(silent().into())));
        read.with_context(|| format!("reading the Secret `{}`", self.place()))
    }

    /// The Secret, or as it is mounted while the API server does not answer. The mounted one is a minute or two old: it
    /// counts only where its CA signs for the database, so that nothing goes back to the CA of before a rotation.
    async fn get_or_read_files(&self, known: Option<&str>) -> Result<Option<Secret>> {
        let signs = |mounted: &Secret| {
            let line = self.parse(mounted).map(|identity| identity.authority.public_line());
            known.is_some() && line.ok().as_deref() == known
        };
        match (self.get().await, self.read_files().filter(signs)) {
            (Err(error), Some(mounted)) => {
                tracing::warn!("taking the host CA from the mounted files: {error:#}");
                Ok(Some(mounted))
            }
            (found, _) => found,
        }
    }

    /// Whether the database belongs to it.
    fn vet(&self, identity: &Identity, known: &str) -> Result<()> {
        if identity.public_lines().iter().any(|line| line == known) {
            return Ok(());
        }
        bail!(
            "the Secret `{}` has another host CA than the database, which belongs to `{known}`\n\
             hint: kubectl apply -f BACKUP-OF-{SECRET}.yaml",
            self.place()
        )
    }

    /// The Secret as it is mounted, where it is.
    fn read_files(&self) -> Option<Secret> {
        let dir = self.files.as_ref()?;
        let read = |name: &str| Some((name.to_owned(), ByteString(std::fs::read(dir.join(name)).ok()?)));
        let data = [read(CA)?, read(MASTER)?].into_iter().chain(read(NEXT)).chain(read(REVOKED)).collect();
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
