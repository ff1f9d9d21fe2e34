//! Events that the API server does not take: keys go their way all the same; on a real API server.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::time::Duration;

use fairlead_server::settings::Part;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::cluster::{Cluster, Options, eventually};

/// Takes the right to write Events away.
async fn refuse_events(cluster: &Cluster) {
    let roles: Api<ClusterRole> = Api::all(cluster.admin.clone());
    let mut role = roles.get("fairlead").await.unwrap();
    let is_about_events = |groups: &Option<Vec<String>>| groups.iter().flatten().any(|group| group == "events.k8s.io");
    role.rules.as_mut().unwrap().retain(|rule| !is_about_events(&rule.api_groups));
    roles.replace("fairlead", &PostParams::default(), &role).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_is_noted_once_holds_up_no_key_and_is_written_when_it_may_be() {
    let cluster = Cluster::start().await;
    refuse_events(&cluster).await;
    cluster.profile("team-a", "ann@example.com").await;
    let foreign = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "fairlead-ml"}});
    cluster.apply(Some("team-a"), foreign).await;
    for name in ["ml", "other"] {
        cluster.notebook("team-a", name).await;
    }
    let running = cluster.operating(Options::default()).await;
    let noted = async || {
        let audit = cluster.store.list_audit(100).await.unwrap();
        audit.iter().filter(|event| event.detail.as_deref() == Some("SshSecretTaken")).count()
    };
    eventually("it is noted", async || (noted().await > 0).then_some(())).await;
    // Long enough for two more tries, of the Event and of the Secret.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((noted().await, cluster.events("team-a").await.len()), (1, 0));
    assert!(running.writes("foreign") >= 2, "it is tried again");
    let ann = cluster.key("ann@example.com").await;
    let has_key = |secret: &Secret| {
        let file = &secret.data.as_ref().unwrap()["authorized_keys"].0;
        std::str::from_utf8(file).unwrap().contains(ann.line())
    };
    let other = async || cluster.secret("team-a", "fairlead-other").await.filter(has_key);
    eventually("the key in the other Secret", other).await;

    cluster.grant_to("fairlead", &[Part::Operator, Part::Webhook]).await;
    eventually("the Event", async || (cluster.events("team-a").await == ["SshSecretTaken"]).then_some(())).await;
    assert_eq!(noted().await, 1);
}
