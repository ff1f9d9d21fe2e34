//! The NetworkPolicy on a real API server: where it is written, beside what it is not, and where the API server is too
//! old for it.

use fairlead_model::plan::mesh::{Mode, NETWORK, Settings};
use fairlead_server::check::Level;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::check::check;
use crate::cluster::{Cluster, Options, SYSTEM, eventually, id};
use crate::mesh::{apply, becomes, policies, with};

const KIND: &str = "NetworkPolicy";

fn options() -> Options {
    let mesh =
        Settings { mode: Mode::None, network_policies: true, namespace: SYSTEM.to_owned(), ..Settings::default() };
    Options { mesh: Some(mesh), ..Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_written_where_no_other_is_and_the_api_server_knows_end_port() {
    let cluster = Cluster::start().await;
    cluster.profile("team-a", "ann@example.com").await;
    cluster.running_notebook("team-a", "ml", "192.0.2.1").await;
    let running = cluster.operating(options()).await;
    let says = async |words: &str, level: Level| {
        let mut check = check(&cluster, &cluster.own);
        check.mesh.network_policies = true;
        let all = check.run(Some(&id("team-a", "ml"))).await;
        let found = all.iter().find(|finding| finding.what.contains(words));
        assert_eq!(found.map(|finding| finding.level), Some(level), "`{words}` in {all:#?}");
    };
    let version = cluster.admin.apiserver_version().await.unwrap();
    let minor: u32 = version.git_version.split('.').nth(1).unwrap().parse().unwrap();
    if minor < 22 {
        // The field would be dropped without a word, and ports closed. The Secret says that the operator works.
        eventually("the Secret", async || cluster.secret("team-a", "fairlead-ml").await).await;
        apply(&cluster, KIND, "team-a", "other", json!({"podSelector": {}, "policyTypes": ["Egress"]})).await;
        says("there is no NetworkPolicy `fairlead-ssh`", Level::Warn).await;
        assert_eq!(policies(&cluster, KIND, "team-a").get_opt(NETWORK).await.unwrap(), None);
        return;
    }
    let whole = |spec: Option<&Value>| {
        spec.is_some_and(|spec| {
            spec["ingress"][1]["ports"]
                .as_array()
                .is_some_and(|all| all.len() == 4 && all.iter().all(|port| port["endPort"].is_u64()))
        })
    };
    becomes(&cluster, KIND, NETWORK, "is written", whole).await;
    says("NetworkPolicy `fairlead-ssh` is in place", Level::Ok).await;
    let closed = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    apply(&cluster, KIND, "team-a", "closed", closed).await;
    becomes(&cluster, KIND, NETWORK, "goes: it would open what the other closes", |spec| spec.is_none()).await;
    says("is not written beside `closed`", Level::Ok).await;
    policies(&cluster, KIND, "team-a").delete("closed", &DeleteParams::default()).await.unwrap();
    becomes(&cluster, KIND, NETWORK, "comes again", whole).await;
    drop(running);
    let _running = cluster.operating(with(Mode::None)).await;
    becomes(&cluster, KIND, NETWORK, "goes when nobody asks for it", |spec| spec.is_none()).await;
}
