//! Who gets in, who does not, and that a notebook stays itself when its Pod does not.

use fairlead_lab::kubeflow::contributor::Role;
use fairlead_lab::team;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::stage::{Stage, refusal};

#[tokio::test(flavor = "multi_thread")]
async fn owner_and_contributor_get_in_and_nobody_else_does() {
    let (stage, alice) = Stage::new("access").await;
    stage.notebook("bert").await;
    let bob = stage.member("bob", Role::Edit).await;
    let carol = stage.member("carol", Role::View).await;
    let dave = stage.person("dave").await;
    let erin = stage.person("erin").await;
    let other = format!("{}-b", stage.name);
    team::profile(&stage.client, &other, &erin.user).await.unwrap();
    let host = stage.host("bert");

    stage.let_in(&alice, "bert", 30).await;
    for person in [&alice, &bob] {
        let said = person.ssh(&host, "id -un; echo $NB_PREFIX").await.unwrap().unwrap();
        assert_eq!(said, format!("jovyan\n/notebook/{}/bert\n", stage.name), "{}", person.user);
    }
    let viewer = refusal(carol.ssh(&host, "true").await.unwrap());
    assert!(viewer.contains("your role in this profile is `view`"), "{viewer}");
    stage.logs(&["target-refused", &carol.user, "viewer"]).await;

    // A stranger and the owner of another profile hear the same, also of what is not there.
    let mut said = Vec::new();
    for person in [&dave, &erin] {
        for target in [&host, &stage.host("none"), "bert.nowhere.notebook"] {
            said.push(refusal(person.ssh(target, "true").await.unwrap()));
        }
    }
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("no such notebook, or it is not yours"), "{said:?}");
    stage.logs(&["target-refused", &dave.user, "stranger"]).await;

    // A key that nobody registered does not get as far as a target.
    let mallory = stage.stranger("mallory");
    std::fs::copy(alice.config(), mallory.config()).unwrap();
    let config = std::fs::read_to_string(alice.config()).unwrap().replace("/alice/id_", "/mallory/id_");
    std::fs::write(mallory.config(), config).unwrap();
    let mut unknown = Vec::new();
    for target in [&host, &stage.host("none"), "bert.nowhere.notebook"] {
        unknown.push(refusal(mallory.ssh(target, "true").await.unwrap()));
    }
    unknown.dedup();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert!(unknown[0].contains("Permission denied (publickey)"), "{unknown:?}");

    alice.ssh(&host, "true").await.unwrap().unwrap();
    let profiles: Api<kube::api::DynamicObject> = Api::all_with(stage.client.clone(), &team::kind("Profile"));
    profiles.delete(&other, &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pod_with_another_address_is_the_same_notebook() {
    let (stage, alice) = Stage::new("identity").await;
    let (uid, ip) = stage.notebook("bert").await;
    let host = stage.host("bert");
    stage.let_in(&alice, "bert", 30).await;
    let known = std::fs::read_to_string(alice.path("known_hosts")).unwrap();
    let key = "cat /var/run/secrets/fairlead/ssh_host_ed25519_key.pub";
    let before = alice.ssh(&host, key).await.unwrap().unwrap();

    let pods: Api<Pod> = Api::namespaced(stage.client.clone(), &stage.name);
    pods.delete("bert-0", &DeleteParams::default().grace_period(0)).await.unwrap();
    let (new_uid, new_ip) = loop {
        let pod = team::pod(&stage.client, &stage.name, "bert").await.unwrap();
        if pod.0 != uid {
            break pod;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    assert_ne!((&uid, &ip), (&new_uid, &new_ip));
    stage.let_in(&alice, "bert", 30).await;
    assert_eq!(alice.ssh(&host, key).await.unwrap().unwrap(), before);
    assert_eq!(std::fs::read_to_string(alice.path("known_hosts")).unwrap(), known);

    // Another notebook's Pod in its place: the client itself refuses.
    let (_, others) = stage.notebook("other").await;
    stage.let_in(&alice, "other", 30).await;
    let direct = |ip: &str| {
        let mut ssh = std::process::Command::new("ssh");
        ssh.arg("-F").arg(alice.config()).args(["-o", "ProxyJump=none", "-o", &format!("HostName={ip}")]);
        ssh.args(["-o", &format!("HostKeyAlias={host}")]);
        ssh.args([host.as_str(), "true"]).output().unwrap()
    };
    let right = direct(&new_ip);
    assert!(right.status.success(), "{right:?}");
    let wrong = direct(&others);
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("Host key verification failed"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_secret_heals_and_somebody_elses_is_not_taken() {
    let (stage, alice) = Stage::new("secret").await;
    let secrets: Api<Secret> = Api::namespaced(stage.client.clone(), &stage.name);
    let foreign = json!({"metadata": {"name": "fairlead-mine"}, "stringData": {"a": "b"}});
    secrets.create(&kube::api::PostParams::default(), &serde_json::from_value(foreign).unwrap()).await.unwrap();
    stage.notebook("bert").await;
    stage.let_in(&alice, "bert", 30).await;

    stage.notebook("mine").await;
    stage.logs(&["SshSecretTaken", &format!("{}/mine", stage.name)]).await;
    let mine = secrets.get("fairlead-mine").await.unwrap();
    assert_eq!(mine.data.unwrap().into_keys().collect::<Vec<_>>(), ["a"]);

    secrets.delete("fairlead-bert", &DeleteParams::default()).await.unwrap();
    // The demo's installation writes everything again each 20 s.
    let back = async || secrets.get_opt("fairlead-bert").await.unwrap();
    super::stage::within(40, "the Secret is back", back).await;
    stage.let_in(&alice, "bert", 10).await;

    // Somebody who adds a key of their own to it is written over.
    let forged = json!({"stringData": {"authorized_keys": "ssh-ed25519 AAAA forged"}});
    secrets.patch("fairlead-bert", &PatchParams::default(), &Patch::Merge(forged)).await.unwrap();
    let clean = async || {
        let keys = secrets.get("fairlead-bert").await.unwrap().data.unwrap().remove("authorized_keys")?;
        (!String::from_utf8_lossy(&keys.0).contains("forged")).then_some(())
    };
    super::stage::within(40, "the forged key is gone", clean).await;
}
