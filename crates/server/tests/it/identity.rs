//! The host CA: made once, never in silence again, replaced in two steps.

use std::sync::Arc;
use std::time::Duration;

use fairlead_model::HostSuffix;
use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::identity::Authority;
use fairlead_server::clock;
use fairlead_server::gateway_identity::Shown;
use fairlead_server::identity_store::{self, IdentityStore};
use fairlead_server::store::Store;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::PostParams;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, PATIENCE, SYSTEM};

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_at_once_make_one_ca_and_a_lost_one_is_never_made_again() {
    let cluster = Cluster::start().await;
    let kept = || IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    let (one, two, three) = (kept(), kept(), kept());
    let (one, two, three) = tokio::join!(one.load_or_create(), two.load_or_create(), three.load_or_create());
    let line = one.unwrap().authority.public_line();
    assert_eq!(two.unwrap().authority.public_line(), line);
    assert_eq!(three.unwrap().authority.public_line(), line);
    assert_eq!(kept().load_or_create().await.unwrap().authority.public_line(), line, "and so after a restart");

    let mut backup = cluster.secret(SYSTEM, identity_store::SECRET).await.unwrap();
    cluster.delete::<Secret>(SYSTEM, identity_store::SECRET).await;
    let error = format!("{:#}", kept().wait().await.unwrap_err());
    assert!(error.contains("is gone") && error.contains(&line) && error.contains("hint: kubectl apply"), "{error}");
    assert!(cluster.secret(SYSTEM, identity_store::SECRET).await.is_none(), "nothing was made");

    // Another database makes another one; then the first database refuses it.
    let other = crate::databases::Database::sqlite();
    let other = IdentityStore::new(cluster.own.clone(), SYSTEM, other.open().await);
    assert_ne!(other.load_or_create().await.unwrap().authority.public_line(), line);
    let error = format!("{:#}", kept().load_or_create().await.unwrap_err());
    assert!(error.contains("another host CA"), "{error}");

    // Restored.
    cluster.delete::<Secret>(SYSTEM, identity_store::SECRET).await;
    backup.metadata = kube::api::ObjectMeta { name: backup.metadata.name, ..Default::default() };
    cluster.api::<Secret>(SYSTEM).create(&PostParams::default(), &backup).await.unwrap();
    assert_eq!(kept().load_or_create().await.unwrap().authority.public_line(), line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_takes_no_ca_that_was_there_before_it() {
    let cluster = Cluster::start().await;
    let with = |store: &Store| IdentityStore::new(cluster.own.clone(), SYSTEM, store.clone());
    let line = with(&cluster.store).load_or_create().await.unwrap().authority.public_line();
    let fresh = crate::databases::Database::sqlite();
    let fresh = fresh.open().await;
    for _ in 0..2 {
        let error = format!("{:#}", with(&fresh).wait().await.unwrap_err());
        assert!(error.contains("restore the database") && error.contains("hint: fairlead-server serve --"), "{error}");
        assert_eq!(fresh.authority().await.unwrap(), None, "nothing was noted");
    }
    // Told to, it does so, and need not be told again.
    assert_eq!(with(&fresh).adopting(true).load_or_create().await.unwrap().authority.public_line(), line);
    assert_eq!(with(&fresh).load_or_create().await.unwrap().authority.public_line(), line);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_ended_between_making_the_ca_and_noting_it_is_gone_on_with() {
    let cluster = Cluster::start().await;
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    // It noted that there was none; the Secret is there, and not noted.
    cluster.store.expect_authority().await.unwrap();
    let other = crate::databases::Database::sqlite();
    let other = IdentityStore::new(cluster.own.clone(), SYSTEM, other.open().await);
    let line = other.load_or_create().await.unwrap().authority.public_line();
    assert_eq!(kept.load_or_create().await.unwrap().authority.public_line(), line);
    assert_eq!(cluster.store.authority().await.unwrap(), Some(line));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_shows_the_next_ca_first_and_reaches_running_servers() {
    let cluster = Cluster::start().await;
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    let first = kept.load_or_create().await.unwrap();
    let stop = CancellationToken::new();
    let mut identity = kept.clone().follow(first.clone(), Duration::from_millis(100), &stop);
    let Shown { host: mut gateway, known_hosts: mut known } =
        Shown::by_authority(identity.clone(), HostSuffix::default(), clock::now, &stop).unwrap();
    assert!(kept.finish_rotation().await.is_err(), "none was begun");

    let begun = kept.begin_rotation().await.unwrap();
    assert_eq!(kept.begin_rotation().await.unwrap().public_lines(), begun.public_lines(), "begun twice is once");
    let [old, next] = <[String; 2]>::try_from(begun.public_lines()).unwrap();
    assert_eq!(old, first.authority.public_line());
    assert_eq!(begun.known_hosts(&HostSuffix::default()).lines().count(), 2);
    let lines = |identity: &Arc<identity_store::Identity>| identity.public_lines();
    let seen = identity.wait_for(|identity| lines(identity).len() == 2);
    tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap();
    let both = known.wait_for(|lines| *lines == begun.known_hosts(&HostSuffix::default()));
    drop(tokio::time::timeout(PATIENCE, both).await.unwrap().unwrap());
    let signed_by = |certificate: &str| {
        let certificate = ssh_key::Certificate::from_openssh(certificate).unwrap();
        assert_eq!(certificate.valid_principals(), [GATEWAY_ALIAS]);
        ssh_key::PublicKey::new(certificate.signature_key().clone(), "").to_openssh().unwrap().trim_end().to_owned()
    };
    assert_eq!(signed_by(&gateway.borrow().certificate), old, "the next one signs nothing yet");

    kept.finish_rotation().await.unwrap();
    let renewed = gateway.wait_for(|gateway| signed_by(&gateway.certificate) == next);
    tokio::time::timeout(PATIENCE, renewed).await.unwrap().unwrap();
    assert_eq!(lines(&identity.borrow()), [next.as_str()]);
    let one = known.wait_for(|lines| lines.lines().count() == 1 && lines.contains(next.trim_end()));
    drop(tokio::time::timeout(PATIENCE, one).await.unwrap().unwrap());
    assert_eq!(kept.load_or_create().await.unwrap().authority.public_line(), next, "a start takes it");
    let secret = cluster.secret(SYSTEM, identity_store::SECRET).await.unwrap();
    assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["ca", "master"]);
    assert_eq!(secret.name_any(), identity_store::SECRET);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_somebody_else_has_is_withdrawn_at_once_with_everything_that_was_kept_beside_it() {
    let cluster = Cluster::start().await;
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    let first = kept.load_or_create().await.unwrap();
    let backup = cluster.secret(SYSTEM, identity_store::SECRET).await.unwrap();
    let stop = CancellationToken::new();
    let mut identity = kept.clone().follow(first.clone(), Duration::from_millis(100), &stop);

    // Without a rotation begun: one is not waited for.
    let second = kept.revoke().await.unwrap();
    assert_eq!(second.revoked, [first.authority.public_line()]);
    assert_ne!(second.public_lines(), first.public_lines());
    assert!(second.master != first.master, "it was kept beside the CA");
    let known = second.known_hosts(&HostSuffix::default());
    let line = format!("@revoked *.notebook,fairlead-gateway {}\n", first.authority.public_line());
    assert!(known.ends_with(&line) && known.lines().count() == 2, "{known}");
    let seen = identity.wait_for(|identity| identity.is(&second));
    tokio::time::timeout(PATIENCE, seen).await.unwrap().unwrap();
    assert!(kept.load_or_create().await.unwrap().is(&second), "a start takes it");

    // With one begun, that is the next; what was withdrawn before stays so.
    let begun = kept.begin_rotation().await.unwrap();
    let third = kept.revoke().await.unwrap();
    assert_eq!(Some(third.authority.public_line()), begun.next.map(|next| next.public_line()));
    assert_eq!(third.revoked, [first.authority.public_line(), second.authority.public_line()]);
    // An ordinary rotation leaves it alone.
    kept.begin_rotation().await.unwrap();
    assert_eq!(kept.finish_rotation().await.unwrap().revoked, third.revoked);

    // A backup of before does not come back in silence.
    let mut secret = cluster.secret(SYSTEM, identity_store::SECRET).await.unwrap();
    secret.data = backup.data;
    cluster.api::<Secret>(SYSTEM).replace(identity_store::SECRET, &PostParams::default(), &secret).await.unwrap();
    let error = format!("{:#}", kept.load_or_create().await.unwrap_err());
    assert!(error.contains("another host CA"), "{error}");
    // Nor does anything else than public keys get into people's files.
    secret.data.as_mut().unwrap().insert("revoked".to_owned(), ByteString(b"ssh-ed25519 x\n* ssh-ed25519 y".to_vec()));
    secret.metadata.resource_version = None;
    cluster.api::<Secret>(SYSTEM).replace(identity_store::SECRET, &PostParams::default(), &secret).await.unwrap();
    let error = format!("{:#}", kept.load().await.unwrap_err());
    assert!(error.contains("is damaged") && error.contains("reading `revoked`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mounted_secret_serves_while_the_api_server_is_away() {
    let cluster = Cluster::start().await;
    let kept = IdentityStore::new(cluster.own.clone(), SYSTEM, cluster.store.clone());
    let line = kept.load_or_create().await.unwrap().authority.public_line();
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in cluster.secret(SYSTEM, identity_store::SECRET).await.unwrap().data.unwrap() {
        std::fs::write(dir.path().join(name), bytes.0).unwrap();
    }
    cluster.plane.stop_server().unwrap();
    assert!(kept.load_or_create().await.is_err());
    let with_files = kept.with_files(Some(dir.path().to_owned()));
    assert_eq!(with_files.load_or_create().await.unwrap().authority.public_line(), line);

    // Files of before a rotation's end have the CA that signs now only as the next one.
    let before = Authority::generate(&[5; 32]).unwrap();
    std::fs::rename(dir.path().join("ca"), dir.path().join("ca-next")).unwrap();
    std::fs::write(dir.path().join("ca"), before).unwrap();
    assert!(with_files.load_or_create().await.is_err());
}
