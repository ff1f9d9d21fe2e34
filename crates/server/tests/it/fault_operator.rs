//! An operator that is killed wherever it happens to be leaves what one writes that nobody disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::PublicKey;
use fairlead_model::plan::{MANAGER, TOUCHED};
use fairlead_server::{clock, random};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use serde_json::Value;

use crate::browser_site::mail;
use crate::cluster::{SYSTEM, eventually, new_key, who};
use crate::databases::Database;
use crate::fault_site::Site;
use crate::full::full;

/// What a number tells to do, so that a seed is a story.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        let given = std::env::var("FAIRLEAD_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
        Self(given.unwrap_or_else(|| u64::from_le_bytes(random::bytes().expect("chance"))))
    }

    /// Less than `end` (splitmix64).
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// What is true of the cluster and the database while operators come and go.
#[derive(Default)]
struct Truth {
    keys: BTreeMap<&'static str, Vec<PublicKey>>,
    made: u32,
    notebooks: u32,
    dave: bool,
}

impl Truth {
    /// Changes something.
    async fn change(&mut self, site: &Site, chance: &mut Chance) {
        let store = &site.cluster.store;
        let person = ["alice", "bob", "dave"][usize::try_from(chance.below(3)).unwrap_or(0)];
        match chance.below(6) {
            0..3 => {
                self.made += 1;
                let key = new_key(&format!("{person}-{}", self.made));
                store.add_key(&who(&mail(person)), &key, "", clock::now()).await.expect("a key is added");
                self.keys.entry(person).or_default().push(key);
            }
            3 => {
                if let Some(key) = self.keys.entry(person).or_default().pop() {
                    store.remove_key(&who(&mail(person)), key.fingerprint()).await.expect("a key is removed");
                }
            }
            4 => self.toggle_dave(site).await,
            _ => {
                self.notebooks += 1;
                let ip = format!("192.0.2.{}", self.notebooks);
                site.cluster.running_notebook("team-a", &format!("n{}", self.notebooks), &ip).await;
            }
        }
    }

    /// dave leaves, or comes back.
    async fn toggle_dave(&mut self, site: &Site) {
        if self.dave {
            site.cluster.delete::<RoleBinding>("team-a", "user-dave").await;
        } else {
            site.cluster.contributor("team-a", "user-dave", &mail("dave"), "edit").await;
        }
        self.dave = !self.dave;
    }

    /// The lines that every Secret has to have.
    fn lines(&self) -> BTreeSet<&str> {
        let who = self.keys.iter().filter(|(person, _)| **person != "dave" || self.dave);
        who.flat_map(|(_, keys)| keys).map(PublicKey::line).collect()
    }

    /// Waits until every Secret has those, and every Pod was told of its Secret's last version.
    async fn settles(&self, site: &Site) {
        let lines = self.lines();
        eventually("all Secrets and Pods as they should be", async || {
            let secrets = secrets(site).await;
            let pods = site.cluster.api::<Pod>("team-a").list(&ListParams::default()).await.ok()?;
            let told = pods.iter().all(|pod| {
                let secret = secrets.get(&format!("fairlead-{}", pod.name_any().trim_end_matches("-0")));
                let version = secret.and_then(ResourceExt::resource_version);
                version.is_some() && pod.annotations().get(TOUCHED) == version.as_ref()
            });
            let right = secrets.values().all(|secret| {
                let keys = &secret.data.as_ref().expect("it has data")["authorized_keys"].0;
                let keys = std::str::from_utf8(keys).expect("it is text");
                keys.lines().filter(|line| line.starts_with("ssh-")).count() == lines.len()
                    && lines.iter().all(|line| keys.contains(line))
            });
            (secrets.len() == self.notebooks as usize && told && right).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_killed_again_and_again_leaves_what_an_undisturbed_one_writes() {
    let mut chance = Chance::new();
    println!("FAIRLEAD_TEST_SEED={}", chance.0);
    let site = Site::start(Database::sqlite()).await;
    let mut truth = Truth::default();
    for _ in 0..4 {
        truth.notebooks += 1;
        let ip = format!("192.0.2.{}", truth.notebooks);
        site.cluster.running_notebook("team-a", &format!("n{}", truth.notebooks), &ip).await;
    }
    // Somebody who can read the Secrets, and is going to leave.
    site.cluster.contributor("team-a", "user-dave", &mail("dave"), "edit").await;
    truth.dave = true;
    let first = site.serve("operator");
    truth.settles(&site).await;
    let key_before = host_key(&site, "n1").await;
    first.kill();

    let rounds = if full() { 50 } else { 10 };
    for round in 1..=rounds {
        let operator = site.serve("operator");
        let after_start = chance.below(600);
        tokio::time::sleep(Duration::from_millis(after_start)).await;
        for _ in 0..=chance.below(3) {
            truth.change(&site, &mut chance).await;
        }
        // Before this he may have left and come back while no operator looked, and no key had to change for that.
        if round == rounds && truth.dave {
            truth.toggle_dave(&site).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.below(250))).await;
        operator.kill();
    }

    let survivor = site.serve("operator");
    truth.settles(&site).await;
    let left: BTreeMap<String, Value> =
        secrets(&site).await.iter().map(|(name, one)| (name.clone(), bytes(one))).collect();
    // An operator that got so far had seen him, and he could read that host key.
    assert_ne!(host_key(&site, "n1").await, key_before, "somebody left, and the host key is the same");
    let own = site.cluster.api::<Secret>(SYSTEM).list(&ListParams::default()).await.expect("a list");
    let identities = own.iter().filter(|secret| secret.name_any() == "fairlead-identity").count();
    assert_eq!(identities, 1, "one host CA");
    survivor.kill();

    let all = ListParams::default();
    site.cluster.api::<Secret>("team-a").delete_collection(&DeleteParams::default(), &all).await.expect("all go");
    let _undisturbed = site.serve("operator");
    truth.settles(&site).await;
    let anew: BTreeMap<String, Value> =
        secrets(&site).await.iter().map(|(name, one)| (name.clone(), bytes(one))).collect();
    assert_eq!(left, anew);
}

/// All Secrets of the profile by name: nothing else makes any there.
async fn secrets(site: &Site) -> BTreeMap<String, Secret> {
    let all = site.cluster.api::<Secret>("team-a").list(&ListParams::default()).await.expect("a list");
    all.into_iter().map(|secret| (secret.name_any(), secret)).collect()
}

/// A Secret without what the API server puts into it, but with whoever it says has written it.
fn bytes(secret: &Secret) -> Value {
    let managers = secret.managed_fields().iter().map(|one| one.manager.clone());
    assert_eq!(managers.collect::<Vec<_>>(), [Some(MANAGER.to_owned())], "{}", secret.name_any());
    let mut secret = secret.clone();
    let meta = &mut secret.metadata;
    (meta.managed_fields, meta.resource_version, meta.uid, meta.creation_timestamp) = (None, None, None, None);
    serde_json::to_value(secret).expect("it becomes JSON")
}

async fn host_key(site: &Site, notebook: &str) -> String {
    site.secret(notebook).await.expect("its Secret")["ssh_host_ed25519_key.pub"].clone()
}
