//! What a namespace's editors can read: the Secrets of their own notebooks, and nothing that the whole rests on.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::ListParams;

use crate::cluster::{Cluster, Options, SYSTEM, eventually};

/// The files that a profile's editors may see.
const FILES: [&str; 4] =
    ["authorized_keys", "ssh_host_ed25519_key", "ssh_host_ed25519_key-cert.pub", "ssh_host_ed25519_key.pub"];

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_profile_holds_what_signs_for_others() {
    let cluster = Cluster::start().await;
    for (space, owner) in [("team-a", "ann@example.com"), ("team-b", "erin@example.com")] {
        cluster.profile(space, owner).await;
        cluster.key(owner).await;
        cluster.running_notebook(space, "ml", "10.1.0.1").await;
    }
    let _running = cluster.operating(Options::default()).await;
    let own = cluster.api::<Secret>(SYSTEM).list(&ListParams::default()).await.unwrap();
    let kept: Vec<Vec<u8>> =
        own.items.into_iter().flat_map(|secret| secret.data.unwrap_or_default()).map(|(_, b)| b.0).collect();
    assert!(kept.len() >= 2, "no identity of the installation to look for");
    let mut hosts = Vec::new();
    for space in ["team-a", "team-b"] {
        let secret = eventually("its Secret", async || cluster.secret(space, "fairlead-ml").await).await;
        assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), FILES);
        hosts.push(secret.data.unwrap()["ssh_host_ed25519_key"].0.clone());
        for secret in cluster.api::<Secret>(space).list(&ListParams::default()).await.unwrap() {
            assert!(secret.name_any() == "fairlead-ml", "another Secret: {}", secret.name_any());
            for (name, bytes) in secret.data.unwrap_or_default() {
                let holds =
                    |part: &Vec<u8>| part.len() >= 16 && bytes.0.windows(part.len()).any(|window| window == part);
                assert!(!kept.iter().any(holds), "`{name}` in {space} holds a secret of the installation");
            }
        }
    }
    // Nor does one profile's key say anything of another's.
    assert_ne!(hosts[0], hosts[1]);
}
