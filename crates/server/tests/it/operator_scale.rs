//! That a change costs what it is about and no more, by the API server's own counts and the versions of all objects;
//! `make bench-operator` has the times, at sizes that no test can have.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fairlead_model::plan::TOUCHED;
use fairlead_server::clock;
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::cluster::{Cluster, Options, eventually, new_key, who};

const PROFILES: usize = 6;
const NOTEBOOKS: usize = 10;

/// Namespace and name of an object, and its version.
type Versions = BTreeMap<(String, String), String>;

fn profile(number: usize) -> String {
    format!("team-{}", number % PROFILES)
}

fn person(number: usize) -> String {
    format!("person-{}@example.com", number % PROFILES)
}

/// Everybody owns a profile and works in the one before.
async fn fill(cluster: &Cluster) {
    for number in 0..PROFILES {
        cluster.profile(&profile(number), &person(number)).await;
        cluster.contributor(&profile(number), "contributor", &person(number + 1), "edit").await;
        cluster.key(&person(number)).await;
    }
    let all = (0..PROFILES).flat_map(|of| (0..NOTEBOOKS).map(move |number| (of, number)));
    let make = |(of, number): (usize, usize)| async move {
        let ip = format!("192.0.2.{}", of * NOTEBOOKS + number + 10);
        cluster.running_notebook(&profile(of), &format!("nb-{number}"), &ip).await;
    };
    stream::iter(all).map(make).buffer_unordered(8).collect::<Vec<()>>().await;
}

async fn list<K>(cluster: &Cluster, labels: &str) -> Vec<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let all: Api<K> = Api::all(cluster.admin.clone());
    all.list(&ListParams::default().labels(labels)).await.unwrap().items
}

async fn secrets(cluster: &Cluster) -> Vec<Secret> {
    list(cluster, "fairlead.dev/notebook").await
}

fn versions<K: Resource>(objects: &[K]) -> Versions {
    let version = |object: &K| {
        let key = (object.namespace().unwrap(), object.name_any());
        (key, object.resource_version().unwrap())
    };
    objects.iter().map(version).collect()
}

/// The namespaces and names of what is in another version now.
fn changed(before: &Versions, now: &Versions) -> BTreeSet<(String, String)> {
    assert_eq!(before.len(), now.len());
    now.iter().filter(|(key, version)| before.get(*key) != Some(*version)).map(|(key, _)| key.clone()).collect()
}

/// Waits until so many Secrets are as wished and every Pod was touched for the version that is there.
async fn converged(cluster: &Cluster, wanted: usize, wish: impl Fn(&str) -> bool) -> (Versions, Versions) {
    eventually("all Secrets, and all Pods touched", async || {
        let secrets = secrets(cluster).await;
        let text = |secret: &Secret| String::from_utf8(secret.data.as_ref().unwrap()["authorized_keys"].0.clone());
        let as_wished = secrets.iter().filter(|secret| wish(&text(secret).unwrap())).count();
        let there = versions(&secrets);
        let pods: Vec<Pod> = list(cluster, "notebook-name").await;
        let is_touched = |pod: &&Pod| {
            let secret = format!("fairlead-{}", pod.labels()["notebook-name"]);
            let version = there.get(&(pod.namespace().unwrap(), secret));
            version.is_some() && pod.annotations().get(TOUCHED) == version
        };
        let touched = pods.iter().filter(is_touched).count();
        let all = PROFILES * NOTEBOOKS;
        (as_wished == wanted && touched == all && there.len() == all).then(|| (there, versions(&pods)))
    })
    .await
}

/// How often the API server was asked for one Secret, to write a Secret, and to change a Pod's status, since it began.
async fn requests(cluster: &Cluster) -> [usize; 3] {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = cluster.admin.request_text(request).await.unwrap();
    let lines = || text.lines().filter(|line| line.starts_with("apiserver_request_total{"));
    let count = |resource: &str, subresource: &str, verbs: &[&str]| {
        let is_meant = |line: &&str| {
            line.contains(&format!("resource=\"{resource}\","))
                && line.contains(&format!("subresource=\"{subresource}\""))
        };
        let has_verb = |line: &&str| verbs.iter().any(|verb| line.contains(&format!("verb=\"{verb}\"")));
        let meant = lines().filter(is_meant).filter(has_verb);
        meant.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    };
    let writes = ["PATCH", "APPLY", "POST", "PUT"];
    [count("secrets", "", &["GET"]), count("secrets", "", &writes), count("pods", "status", &writes)]
}

/// What of each was asked for since then. Whatever came too much would have come by now.
async fn asked_since(cluster: &Cluster, before: [usize; 3]) -> [usize; 3] {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let now = requests(cluster).await;
    [0, 1, 2].map(|which| now[which] - before[which])
}

/// All notebooks of some profiles, as `name` calls what belongs to them.
fn of(profiles: &[usize], name: impl Fn(usize) -> String) -> BTreeSet<(String, String)> {
    profiles.iter().flat_map(|of| (0..NOTEBOOKS).map(|number| (profile(*of), name(number)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_written_where_it_belongs_and_nothing_else_is_asked_for() {
    let cluster = Cluster::start().await;
    fill(&cluster).await;
    let _running = cluster.operating(Options::default()).await;
    let (all, each) = (PROFILES * NOTEBOOKS, NOTEBOOKS);
    let (secret, pod) = (|number| format!("fairlead-nb-{number}"), |number| format!("nb-{number}-0"));
    let before = converged(&cluster, all, |text| text.matches("\nssh-").count() == 2).await;

    // A key more: in the notebooks of the two profiles where its person works, and each is read, written and touched.
    let asked = requests(&cluster).await;
    let key = new_key("one more");
    cluster.store.add_key(&who(&person(2)), &key, "", clock::now()).await.unwrap();
    let after = converged(&cluster, 2 * each, |text| text.contains(key.line())).await;
    assert_eq!(asked_since(&cluster, asked).await, [2 * each; 3]);
    assert_eq!(changed(&before.0, &after.0), of(&[1, 2], secret));
    assert_eq!(changed(&before.1, &after.1), of(&[1, 2], pod));

    // Somebody goes: from the notebooks of that profile.
    let (before, asked) = (after, requests(&cluster).await);
    cluster.delete::<RoleBinding>(&profile(4), "contributor").await;
    let after = converged(&cluster, each, |text| text.matches("\nssh-").count() == 1).await;
    assert_eq!(asked_since(&cluster, asked).await, [each; 3]);
    assert_eq!(changed(&before.0, &after.0), of(&[4], secret));
    assert_eq!(changed(&before.1, &after.1), of(&[4], pod));

    // A Pod's news that nothing depends on, and a key of somebody who works nowhere: nothing.
    let (before, asked) = (after, requests(&cluster).await);
    cluster.key("nobody@example.com").await;
    let label = serde_json::json!({"metadata": {"labels": {"any": "thing"}}});
    let pods: Api<Pod> = cluster.api(&profile(0));
    let patch = kube::api::Patch::Merge(label);
    pods.patch("nb-0-0", &kube::api::PatchParams::default(), &patch).await.unwrap();
    assert_eq!(asked_since(&cluster, asked).await, [0; 3]);
    assert!(changed(&before.0, &versions(&secrets(&cluster).await)).is_empty());
}
