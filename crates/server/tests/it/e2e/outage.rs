//! What goes on when something Fairlead leans on is away: the webhook, the API server, the whole of Fairlead.

use std::time::Duration;

use fairlead_lab::paths;
use fairlead_lab::process::Process;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::stage::{Live, Stage, within};

#[tokio::test(flavor = "multi_thread")]
async fn without_fairlead_notebooks_start_and_with_it_the_next_start_is_mounted() {
    let (stage, alice) = Stage::new("away").await;
    let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), "fairlead-system");
    let replicas = async |share: i32| {
        for (name, count) in stage.fairlead.installation.deployments() {
            let count = count * share;
            let patch = Patch::Merge(json!({"spec": {"replicas": count}}));
            deployments.patch(name, &PatchParams::default(), &patch).await.unwrap();
            let settled = async || {
                let status = deployments.get(name).await.unwrap().status.unwrap_or_default();
                (status.ready_replicas.unwrap_or(0) == count && status.replicas.unwrap_or(0) == count).then_some(())
            };
            within(90, &format!("{name} has {count} Pods"), settled).await;
        }
    };
    replicas(0).await;
    let began = std::time::Instant::now();
    stage.notebook("bert").await;
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &stage.name);
    assert!(!has_mount(&pods.get("bert-0").await.unwrap()));

    replicas(1).await;
    stage.refused(&alice, "bert", "", 30).await;
    stage.logs(&["SshNeedsRestart", &format!("{}/bert", stage.name)]).await;
    pods.delete("bert-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    within(60, "the next Pod is mounted", async || pods.get_opt("bert-0").await.unwrap().filter(has_mount)).await;
    stage.let_in(&alice, "bert", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_the_api_server_does_not_trust_keeps_no_notebook_from_starting() {
    let (stage, alice) = Stage::new("untrusted").await;
    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &stage.name);
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(stage.client.clone());
    let bundle = async || {
        let mut webhooks = configurations.get("fairlead").await.unwrap().webhooks.unwrap();
        webhooks.remove(0).client_config.ca_bundle.unwrap()
    };
    let right = bundle().await;
    // A good certificate, and not the one that signed: what a client of this cluster has at hand.
    let other = std::fs::read(paths::cluster().join("pki/ca.crt")).unwrap();
    let wrong = json!([{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": ByteString(other)}]);
    let wrong = Patch::<()>::Json(serde_json::from_value(wrong).unwrap());
    configurations.patch("fairlead", &PatchParams::default(), &wrong).await.unwrap();
    let untrusted = async || (!stage.fairlead.would_mount(&stage.client, &stage.name).await.unwrap()).then_some(());
    within(20, "the API server does not trust the webhook", untrusted).await;
    stage.notebook("bert").await;
    assert!(!has_mount(&pods.get("bert-0").await.unwrap()), "the wrong certificate was trusted");

    within(60, "the right certificate is back", async || (bundle().await == right).then_some(())).await;
    stage.fairlead.mounts(&stage.client, &stage.name).await.unwrap();
    pods.delete("bert-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    within(60, "the next Pod is mounted", async || pods.get_opt("bert-0").await.unwrap().filter(has_mount)).await;
    stage.let_in(&alice, "bert", 60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_in_while_the_api_server_is_stopped() {
    let (stage, alice) = Stage::new("apiserver").await;
    stage.notebook("bert").await;
    stage.let_in(&alice, "bert", 30).await;
    let host = stage.host("bert");
    let server = Process::of(&paths::cluster()).into_iter().find(|process| process.name == "kube-apiserver").unwrap();
    let pids = fairlead_lab::process::children(server.pid);
    let send = |signal| {
        for pid in pids.iter().chain([&server.pid]) {
            kill_process(Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap(), signal).unwrap();
        }
    };
    let mut live = Live::open(&alice, &host).await;
    send(Signal::STOP);
    let outcome = async {
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_mins(1) {
            alice.ssh(&host, "true").await.unwrap().map_err(|said| format!("after {:?}: {said}", began.elapsed()))?;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        Ok::<_, String>(())
    }
    .await;
    // It goes on also when the test fails, or nothing else in this cluster would.
    send(Signal::CONT);
    outcome.unwrap();
    live.echoes().await;
    // And Fairlead hears the cluster again.
    stage.patch("bert", json!({"metadata": {"labels": {"fairlead.dev/ssh": "disabled"}}})).await;
    stage.refused(&alice, "bert", "SSH is switched off for this notebook", 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_right_and_names_the_layer_that_is_not() {
    let (stage, alice) = Stage::new("check").await;
    stage.notebook("bert").await;
    stage.let_in(&alice, "bert", 30).await;
    let target = format!("{}/bert", stage.name);
    let said = stage.fairlead.admin(&["check", &target], "").unwrap();
    assert!(!said.contains("FAIL"), "{said}");
    stage.patch("bert", json!({"metadata": {"annotations": {"kubeflow-resource-stopped": "now"}}})).await;
    let refused = format!("{:#}", stage.fairlead.admin(&["check", &target], "").unwrap_err());
    assert!(refused.contains("FAIL") && refused.contains("stopped") && refused.contains("fix: "), "{refused}");
    let none = format!("{:#}", stage.fairlead.admin(&["check", "nowhere/none"], "").unwrap_err());
    assert!(none.contains("FAIL") && none.contains("nowhere/none"), "{none}");
}

fn has_mount(pod: &Pod) -> bool {
    let containers = pod.spec.as_ref().map(|spec| spec.containers.as_slice()).unwrap_or_default();
    let mounts = containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
    mounts.into_iter().any(|mount| mount.mount_path == fairlead_model::plan::MOUNT)
}
