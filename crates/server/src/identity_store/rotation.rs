//! Another host CA in place of the one there is, in steps that clients can follow: first both are given out, then the
//! next one signs and the old one is given out no more, or as one to refuse.

use anyhow::{Context, Result, bail};
use fairlead_model::identity::Authority;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;

use super::{CA, Identity, IdentityStore, MASTER, NEXT, REVOKED};
use crate::random;

impl IdentityStore {
    /// Begins a rotation: makes the CA to come, which clients must know before [`IdentityStore::finish_rotation`].
    /// Begun already, it changes nothing.
    pub async fn begin_rotation(&self) -> Result<Identity> {
        let mut secret = self.existing().await?;
        if self.parse(&secret)?.next.is_none() {
            let next = Authority::generate(&random::bytes()?).context("making a host CA")?;
            put(&mut secret, NEXT, next.into_bytes());
            secret = self.replace(&secret).await?;
        }
        self.parse(&secret)
    }

    /// Ends a rotation: from now on only the next CA signs and is listed.
    pub async fn finish_rotation(&self) -> Result<Identity> {
        let mut secret = self.existing().await?;
        let Some(next) = self.parse(&secret)?.next else {
            bail!("no rotation is under way\nhint: fairlead-server ca rotate");
        };
        // The database first: a start between the two finds its CA as the next one.
        self.store.set_authority(&next.public_line()).await?;
        take_next(&mut secret);
        self.parse(&self.replace(&secret).await?)
    }

    /// Withdraws the CA because somebody else may have it: the next one signs from now on, one made here where no
    /// rotation was begun, and clients are told to refuse the old one. Host keys are derived from another master secret
    /// from now on: it is kept beside the CA, so whoever has the one has the other.
    pub async fn revoke(&self) -> Result<Identity> {
        // In the Secret first, where a start finds it that comes between this and the end.
        self.begin_rotation().await?;
        let mut secret = self.existing().await?;
        let Identity { authority, next: Some(next), revoked, .. } = self.parse(&secret)? else {
            bail!("somebody else ended the rotation meanwhile\nhint: fairlead-server ca show");
        };
        self.store.set_authority(&next.public_line()).await?;
        take_next(&mut secret);
        put(&mut secret, MASTER, random::bytes::<32>()?.to_vec());
        let lines = revoked.into_iter().chain([authority.public_line()]);
        put(&mut secret, REVOKED, lines.map(|line| line + "\n").collect::<String>().into_bytes());
        self.parse(&self.replace(&secret).await?)
    }

    async fn existing(&self) -> Result<Secret> {
        self.get().await?.context("there is no CA yet: start the server once")
    }
}

fn put(secret: &mut Secret, field: &str, bytes: Vec<u8>) {
    secret.data.get_or_insert_default().insert(field.to_owned(), ByteString(bytes));
}

/// The next CA in place of the one there is.
fn take_next(secret: &mut Secret) {
    let data = secret.data.get_or_insert_default();
    if let Some(next) = data.remove(NEXT) {
        data.insert(CA.to_owned(), next);
    }
}
