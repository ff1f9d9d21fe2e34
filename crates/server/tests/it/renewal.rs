//! Certificates over weeks, by clocks that tests set: the running operator and gateway renew at half time.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fairlead_model::Time;
use fairlead_model::identity::{Authority, HostIdentity, Master};
use fairlead_model::plan::TOUCHED;
use fairlead_server::clock;
use fairlead_server::identity_store::Identity;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;

use crate::cluster::{Cluster, Options, eventually};

const DAY: i64 = 86_400;

fn file(secret: &Secret, name: &str) -> String {
    String::from_utf8(secret.data.as_ref().unwrap()[name].0.clone()).unwrap()
}

fn certificate(text: &str) -> ssh_key::Certificate {
    ssh_key::Certificate::from_openssh(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_operator_renews_a_notebooks_certificate_at_half_time_and_keeps_its_key() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let now = || clock::now().plus_seconds(AHEAD.load(Ordering::Relaxed));
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let running = cluster.operating(Options { resync: Duration::from_millis(500), now, ..Options::default() }).await;
    let secret = async |not: Option<&str>| {
        eventually("a certificate that differs", async || {
            let secret = cluster.secret("team-a", "fairlead-ml").await?;
            (Some(file(&secret, "ssh_host_ed25519_key-cert.pub").as_str()) != not).then_some(secret)
        })
        .await
    };
    let first = secret(None).await;
    let mut last = first.clone();
    for _ in 0..4 {
        let text = file(&last, "ssh_host_ed25519_key-cert.pub");
        let ends = i64::try_from(certificate(&text).valid_before()).unwrap();
        // An hour before half time, nothing; the moment itself, another one: no client ever sees less than 7 days.
        let half = ends - 7 * DAY;
        AHEAD.store(half - 3600 - clock::now().0 / 1000, Ordering::Relaxed);
        let version = |secret: &Secret| secret.resource_version();
        let looks = running.writes("unchanged");
        eventually("it looks twice", async || (running.writes("unchanged") > looks + 1).then_some(())).await;
        let looked = cluster.secret("team-a", "fairlead-ml").await.unwrap();
        assert_eq!(version(&looked), version(&last), "nothing is written before");
        AHEAD.store(half + 1 - clock::now().0 / 1000, Ordering::Relaxed);
        let renewed = secret(Some(&text)).await;
        let new = certificate(&file(&renewed, "ssh_host_ed25519_key-cert.pub"));
        assert_eq!(i64::try_from(new.valid_before()).unwrap(), ends + 7 * DAY);
        assert!(i64::try_from(new.valid_after()).unwrap() < now().0 / 1000);
        assert_eq!(file(&renewed, "ssh_host_ed25519_key"), file(&first, "ssh_host_ed25519_key"), "the same key");
        eventually("the Pod is touched", async || {
            let pod = cluster.api::<Pod>("team-a").get("ml-0").await.unwrap();
            (pod.annotations().get(TOUCHED) == renewed.metadata.resource_version.as_ref()).then_some(())
        })
        .await;
        last = renewed;
    }
    let ml = crate::cluster::id("team-a", "ml");
    let revoked = cluster.store.revoked_host_keys(&[&ml.namespace].into(), now()).await.unwrap();
    assert_eq!(revoked, [], "a renewal replaces no key");
}

#[test]
fn a_gateway_that_looks_every_hour_renews_at_half_time_and_never_shows_a_certificate_out_of_its_time() {
    let master = Master::from_bytes(&[7; 32]).unwrap();
    let authority = Authority::from_openssh(&Authority::generate(&[9; 32]).unwrap()).unwrap();
    let identity = Identity { authority, next: None, revoked: Vec::new(), master };
    let mut shown: Option<HostIdentity> = None;
    let mut renewed = 0;
    for hour in 0..8 * 7 * 24 {
        let now = Time(1_795_000_000_000).plus_seconds(hour * 3600);
        // What it showed until this look must still have been good.
        if let Some(last) = &shown {
            let left = certificate(&last.certificate).valid_before() - now.unix_seconds();
            assert!(left >= (7 * DAY - 3600).unsigned_abs(), "{left} s before its end");
        }
        let made = identity.gateway(now).unwrap();
        let new = certificate(&made.certificate);
        assert!(new.valid_after() < now.unix_seconds());
        assert!(shown.as_ref().is_none_or(|last| last.private == made.private), "the same key");
        renewed += usize::from(shown.as_ref().is_some_and(|last| *last != made));
        shown = Some(made);
    }
    assert!((7..=8).contains(&renewed), "{renewed} times in eight weeks");
}
