//! A change of the host CA, at whatever moment it comes, is in all Secrets soon; on a real API server.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::sync::Arc;

use fairlead_model::identity::{Authority, Master};
use fairlead_server::clock;
use fairlead_server::identity_store::Identity;
use k8s_openapi::api::core::v1::Secret;
use ssh_key::{Certificate, PublicKey};
use tokio::sync::watch;

use crate::cluster::{Cluster, Options, eventually, new_key, who};

fn identity(number: u8) -> Arc<Identity> {
    let authority = Authority::from_openssh(&Authority::generate(&[number; 32]).unwrap()).unwrap();
    let master = Master::from_bytes(&[7; 32]).unwrap();
    Arc::new(Identity { authority, next: None, revoked: Vec::new(), master })
}

fn is_signed_by(secret: &Secret, identity: &Identity) -> bool {
    let file = &secret.data.as_ref().unwrap()["ssh_host_ed25519_key-cert.pub"].0;
    let certificate = Certificate::from_openssh(std::str::from_utf8(file).unwrap()).unwrap();
    let authority = PublicKey::from_openssh(&identity.authority.public_line()).unwrap();
    certificate.signature_key() == authority.key_data()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_changes_together_with_other_things_is_in_all_secrets_soon() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    for name in ["bert", "ernie"] {
        cluster.notebook("team-a", name).await;
    }
    let (change, changes) = watch::channel(identity(0));
    let mut running = cluster.operating(Options { identity: Some(changes), ..Options::default() }).await;
    let are_signed_by = async |identity: &Identity| {
        for name in ["fairlead-bert", "fairlead-ernie"] {
            let signed = async || cluster.secret("team-a", name).await.filter(|one| is_signed_by(one, identity));
            eventually("a certificate of the new CA", signed).await;
        }
    };
    are_signed_by(&identity(0)).await;
    for number in 1..=5 {
        running.worlds.mark_unchanged();
        let key = new_key(&format!("ann {number}"));
        cluster.store.add_key(&who("ann@example.com"), &key, "", clock::now()).await.unwrap();
        running.worlds.changed().await.unwrap();
        // Now the operator waits for more news before it begins its next pass, or has begun it.
        change.send_replace(identity(number));
        are_signed_by(&identity(number)).await;
    }
}
