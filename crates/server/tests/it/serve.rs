//! The program itself on a real API server: `serve`, `ca` and `check`.

use std::io::{BufRead, BufReader};

use fairlead_server::webhook::certificate;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{Cluster, SYSTEM, eventually};
use crate::cluster_program::{program, serve, stop, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_program_serves_says_its_ca_and_checks_itself() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "192.0.2.77").await;

    let mut dry = serve(&cluster, &["--dry-run"]);
    let mut lines = BufReader::new(dry.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line == "  name: fairlead-ml"), "it prints the Secret");
    assert!(stop(dry), "it ends well when asked to");
    let secrets: Api<Secret> = Api::all(cluster.admin.clone());
    assert!(secrets.list(&ListParams::default()).await.unwrap().items.is_empty(), "a dry run writes nothing");
    let none = program(&cluster, &["ca", "show"]).output().unwrap();
    assert!(!none.status.success() && text(&none).contains("hint: "), "{}", text(&none));

    let server = serve(&cluster, &[]);
    eventually("the Secret", async || cluster.secret("team-a", "fairlead-ml").await).await;
    eventually("the certificate", async || cluster.secret(SYSTEM, certificate::SECRET).await).await;
    let shown = text(&program(&cluster, &["ca", "show"]).output().unwrap());
    assert!(shown.contains("@cert-authority *.notebook,fairlead-gateway ssh-ed25519 "), "{shown}");
    let begun = text(&program(&cluster, &["ca", "rotate"]).output().unwrap());
    assert_eq!(begun.matches("@cert-authority").count(), 2, "{begun}");
    let ended = text(&program(&cluster, &["ca", "rotate", "--yes"]).output().unwrap());
    assert_eq!(ended.matches("@cert-authority").count(), 1, "{ended}");
    assert!(!ended.contains("@revoked"), "{ended}");
    let unsure = program(&cluster, &["ca", "rotate", "--revoke"]).output().unwrap();
    assert!(!unsure.status.success() && text(&unsure).contains("--yes"), "{}", text(&unsure));
    let before = cluster.secret("team-a", "fairlead-ml").await.unwrap();
    let revoked = text(&program(&cluster, &["ca", "rotate", "--yes", "--revoke"]).output().unwrap());
    assert!(revoked.contains("@revoked *.notebook,fairlead-gateway ssh-ed25519 "), "{revoked}");
    // The resync of this server is ten minutes; the CA it follows by itself.
    eventually("other host keys", async || {
        let now = cluster.secret("team-a", "fairlead-ml").await.unwrap();
        let key = |secret: &Secret| secret.data.as_ref().unwrap()["ssh_host_ed25519_key"].clone();
        (key(&now) != key(&before)).then_some(())
    })
    .await;

    let checked = program(&cluster, &["check", "team-a/ml"]).output().unwrap();
    assert!(!checked.status.success());
    let findings = text(&checked);
    assert!(findings.contains("FAIL  the webhook's configuration `fairlead` is not there"), "{findings}");
    assert!(findings.contains("ok    the notebook `team-a/ml` is there: `ssh ml.team-a.notebook`"), "{findings}");
    let wrong = text(&program(&cluster, &["check", "nonsense"]).output().unwrap());
    assert!(wrong.contains("hint: kubectl get notebooks -A"), "{wrong}");
    assert!(stop(server), "it ends well when asked to");
}
