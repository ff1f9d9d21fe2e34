//! From the cluster to the world: what counts, what does not, and what an API server that comes and goes leaves.

use std::time::Duration;

use fairlead_lab::crds;
use fairlead_model::world::Kind;
use fairlead_model::{Denied, Time, access};
use fairlead_server::clock;
use fairlead_server::picture::{self, Picture};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::cluster::{Cluster, eventually, id, owner, people, who};

#[tokio::test(flavor = "multi_thread")]
async fn forged_pods_let_nobody_into_a_notebook() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.namespace("team-b", None).await;
    let ml = cluster.notebook("team-a", "ml").await;
    let set = cluster.stateful_set("team-a", "ml", &ml).await;
    let free_set = {
        let labels = json!({"a": "b"});
        let template = json!({"metadata": {"labels": labels}, "spec": {"containers": [{"name": "x", "image": "any"}]}});
        let spec = json!({"serviceName": "free", "selector": {"matchLabels": labels}, "template": template});
        let object =
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "free"}, "spec": spec});
        cluster.apply(Some("team-a"), object).await.metadata.uid.unwrap()
    };
    let other_set = cluster.stateful_set("team-b", "ml", &ml).await;
    let forged = "10.9.9.9";
    cluster.pod("team-a", "labels-only", "ml", None, forged, |_| ()).await;
    cluster.pod("team-a", "foreign-set", "ml", Some(&free_set), forged, |_| ()).await;
    cluster.pod("team-a", "set-of-another-namespace", "ml", Some(&other_set), forged, |_| ()).await;
    let host = |pod: &mut serde_json::Value| pod["spec"]["hostNetwork"] = true.into();
    cluster.pod("team-a", "node-network", "ml", Some(&set), forged, host).await;
    let not_controlled =
        |pod: &mut serde_json::Value| pod["metadata"]["ownerReferences"][0]["controller"] = false.into();
    cluster.pod("team-a", "not-controlled", "ml", Some(&set), forged, not_controlled).await;
    let by_notebook = |pod: &mut serde_json::Value| {
        pod["metadata"]["ownerReferences"] = json!([owner("kubeflow.org/v1", "Notebook", "ml", &ml)]);
    };
    cluster.pod("team-a", "owned-by-the-notebook", "ml", None, forged, by_notebook).await;

    let mut running = cluster.watching(None);
    running.has_listed().await;
    let (ann, target) = (who("ann@example.com"), id("team-a", "ml"));
    let world = running.sees("her notebook", |world| world.notebook(&target).is_some()).await;
    assert_eq!(access::decide(&world, &ann, &target), Err(Denied::Starting));
    // Pods come in order: when the true one is seen, so were all forged ones.
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "10.1.0.7", |_| ()).await;
    let world = running.sees("its Pod", |world| access::decide(world, &ann, &target).is_ok()).await;
    let grant = access::decide(&world, &ann, &target).unwrap();
    assert_eq!(grant.address().to_string(), "10.1.0.7:2209");
    // One who is owned like the true one is too many.
    cluster.pod("team-a", "ml-1", "ml", Some(&set), forged, |_| ()).await;
    running.sees("two", |world| access::decide(world, &ann, &target) == Err(Denied::Ambiguous)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_bindings_and_owners_make_nobody_a_member_and_true_ones_come_and_go() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.profile("team-b", "bea@example.com").await;
    cluster.namespace("team-b", Some("eve@example.com")).await;
    cluster.namespace("team-c", Some("eve@example.com")).await;
    let eve = "eve@example.com";
    cluster.binding("team-a", "two-subjects", &[eve, "bob@example.com"], eve, "edit", "edit").await;
    cluster.binding("team-a", "other-annotation", &["bob@example.com"], eve, "edit", "edit").await;
    cluster.binding("team-a", "other-role", &[eve], eve, "edit", "view").await;
    cluster.binding("team-a", "unknown-role", &[eve], eve, "owner", "owner").await;
    cluster.binding("team-a", "namespaceAdmin", &[eve], eve, "admin", "admin").await;
    cluster.contributor("team-a", "user-bob-clusterrole-edit", "bob@example.com", "edit").await;
    cluster.contributor("team-a", "user-cy-clusterrole-view", "cy@example.com", "view").await;

    let mut running = cluster.watching(None);
    running.has_listed().await;
    let both = |names: &[&str]| names.iter().map(|name| format!("{name}@example.com")).collect();
    let world = running.sees("bob", |world| people(world, "team-a") == both(&["ann", "bob"])).await;
    assert!(people(&world, "team-b").is_empty(), "Profile and namespace disagree");
    assert!(people(&world, "team-c").is_empty(), "no Profile");
    cluster.contributor("team-a", "user-dan-clusterrole-admin", "dan@example.com", "admin").await;
    running.sees("dan", |world| people(world, "team-a") == both(&["ann", "bob", "dan"])).await;
    cluster.delete::<RoleBinding>("team-a", "user-bob-clusterrole-edit").await;
    running.sees("bob is gone", |world| people(world, "team-a") == both(&["ann", "dan"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watch_goes_on_after_the_api_server_was_away() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let old = cluster.running_notebook("team-a", "old", "10.1.0.2").await;
    assert!(!old.is_empty());
    let mut running = cluster.watching(None);
    let (ann, ml) = (who("ann@example.com"), id("team-a", "ml"));
    running.sees("her notebook", |world| access::decide(world, &ann, &ml).is_ok()).await;

    cluster.plane.stop_server().unwrap();
    let seen = running.worlds.clone();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(access::decide(&seen.borrow(), &ann, &ml).is_ok(), "what was known stays");
    cluster.plane.start_server().await.unwrap();
    let back = std::time::Instant::now();
    let now = DeleteParams::default().grace_period(0);
    cluster.notebooks("team-a").delete("old", &now).await.unwrap();
    cluster.delete::<Pod>("team-a", "ml-0").await;
    let set = cluster.stateful_set("team-a", "ml", &cluster.notebook("team-a", "ml").await).await;
    cluster.pod("team-a", "ml-0", "ml", Some(&set), "10.1.0.3", |_| ()).await;
    let is_new = |world: &fairlead_model::World| {
        access::decide(world, &ann, &ml).is_ok_and(|grant| grant.address().to_string() == "10.1.0.3:2209")
            && world.notebook(&id("team-a", "old")).is_none()
    };
    running.sees("what is now", is_new).await;
    assert!(back.elapsed() < Duration::from_secs(20), "{:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_of_kubeflow_that_come_late_are_awaited() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin.clone());
    for name in ["notebooks.kubeflow.org", "profiles.kubeflow.org"] {
        definitions.delete(name, &DeleteParams::default()).await.unwrap();
    }
    eventually("they are gone", async || {
        let list = definitions.list_metadata(&kube::api::ListParams::default()).await.unwrap();
        let gone = list.items.iter().all(|found| !found.metadata.name.as_deref().unwrap().ends_with("kubeflow.org"));
        gone.then_some(())
    })
    .await;
    let mut running = cluster.watching(None);
    eventually("all others are listed", async || {
        (running.sights.unlisted() == [Kind::Profile, Kind::Notebook]).then_some(())
    })
    .await;
    assert!(!running.sights.usable());
    crds::install(&cluster.admin).await.unwrap();
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    running.has_listed().await;
    let (ann, ml) = (who("ann@example.com"), id("team-a", "ml"));
    running.sees("her notebook", |world| access::decide(world, &ann, &ml).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_of_notebooks_serves_as_well() {
    let cluster = Cluster::start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(cluster.admin.clone());
    let mut definition = definitions.get("notebooks.kubeflow.org").await.unwrap();
    let v1 = definition.spec.versions.iter_mut().find(|version| version.name == "v1").unwrap();
    v1.served = false;
    definition.metadata.managed_fields = None;
    definitions.replace("notebooks.kubeflow.org", &kube::api::PostParams::default(), &definition).await.unwrap();
    let notebook = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Notebook", "metadata": {"name": "ml"},
        "spec": {"template": {"spec": {"containers": [{"name": "ml", "image": "any"}]}}}});
    cluster.apply(Some("default"), notebook).await;
    let mut running = cluster.watching(None);
    running.sees("the notebook", |world| world.notebook(&id("default", "ml")).is_some()).await;
    running.has_listed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_picture_stands_in_for_an_api_server_that_is_away_until_it_is_too_old() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let (ann, ml) = (who("ann@example.com"), id("team-a", "ml"));
    {
        let mut running = cluster.watching(None);
        running.has_listed().await;
        running.sees("her notebook", |world| access::decide(world, &ann, &ml).is_ok()).await;
        let (worlds, sights) = (running.worlds.clone(), running.sights.clone());
        let keeping = picture::keep(cluster.store.clone(), cluster.own.clone(), worlds, sights, clock::now);
        let kept = eventually("the picture is kept", async || cluster.store.load_picture().await.unwrap());
        tokio::select! { kept = keeping => kept.unwrap(), _ = kept => {} }
    }
    cluster.plane.stop_server().unwrap();
    let hour = Duration::from_hours(1);
    let later = |seconds: i64| Time(clock::now().0).plus_seconds(seconds);
    let too_old = Picture::load(&cluster.store, hour, later(3_700)).await.unwrap();
    assert!(too_old.is_none());

    // Ten seconds before it is too old: it counts after five, and is taken back after ten.
    let picture = Picture::load(&cluster.store, hour, later(3_590)).await.unwrap();
    let mut running = cluster.watching(picture.as_ref());
    assert!(!running.sights.usable());
    running.sees("the picture", |world| access::decide(world, &ann, &ml).is_ok()).await;
    eventually("it is usable", async || running.sights.usable().then_some(())).await;
    assert!(!running.sights.all_listed());
    running.sees("nothing any more", |world| access::decide(world, &ann, &ml) == Err(Denied::Stranger)).await;
    eventually("it is useless", async || (!running.sights.usable()).then_some(())).await;

    cluster.plane.start_server().await.unwrap();
    running.sees("the truth", |world| access::decide(world, &ann, &ml).is_ok()).await;
    running.has_listed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_notebook_and_both_switches_are_seen() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "10.1.0.1").await;
    let mut running = cluster.watching(None);
    let (ann, ml) = (who("ann@example.com"), id("team-a", "ml"));
    running.sees("her notebook", |world| access::decide(world, &ann, &ml).is_ok()).await;
    let steps = [
        (json!({"fairlead.dev/ssh": "disabled"}), Some(Denied::DisabledByUser)),
        (json!({"fairlead.dev/ssh": null, "kubeflow-resource-stopped": "now"}), Some(Denied::Stopped)),
        (json!({"kubeflow-resource-stopped": null}), None),
    ];
    for (annotations, denied) in steps {
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        cluster.notebooks("team-a").patch("ml", &PatchParams::default(), &patch).await.unwrap();
        running.sees("the annotation", |world| access::decide(world, &ann, &ml).err() == denied).await;
    }
    let patch = Patch::Merge(json!({"metadata": {"labels": {"fairlead.dev/ssh": "disabled"}}}));
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(cluster.admin.clone());
    namespaces.patch("team-a", &PatchParams::default(), &patch).await.unwrap();
    running.sees("the label", |world| access::decide(world, &ann, &ml) == Err(Denied::DisabledByAdmin)).await;
}
