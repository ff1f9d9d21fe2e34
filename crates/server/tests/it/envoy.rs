//! The mesh without Istio: Kubeflow's policies and ours, translated to Envoy's RBAC and asked by a real Envoy.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

mod istio;
mod mesh;
mod people;
mod planned;
mod sidecar;

use fairlead_lab::kubeflow::contributor::{Role, contributor};
use fairlead_lab::kubeflow::profile::{Profile, owner_policy};
use futures::future::join_all;
use serde_json::{Value, json};

use mesh::Mesh;
use people::{Came, Source};
use planned::{mtls, with_ours};
use sidecar::{Mtls, NAMESPACE, Pod};

const JUPYTER: &str = "GET /notebook/team-a/ml/lab HTTP/1.1\nhost: ml\n\n";
const KERNELS: &str = "GET /notebook/team-a/ml/api/kernels HTTP/1.1\nhost: ml\n\n";
const AS_ANN: &str = "GET /notebook/team-a/ml/lab HTTP/1.1\nhost: ml\nkubeflow-userid: ann@example.com\n\n";
const AS_BOB: &str = "GET /notebook/team-a/ml/lab HTTP/1.1\nhost: ml\nkubeflow-userid: bob@example.com\n\n";
const AS_EVE: &str = "GET /notebook/team-a/ml/lab HTTP/1.1\nhost: ml\nkubeflow-userid: eve@example.com\n\n";

const fn plain(name: &'static str, ip: &'static str) -> Source {
    Source { name, ip, identity: None, request: JUPYTER, first: "" }
}

const fn meshed(name: &'static str, ip: &'static str, identity: &'static str, request: &'static str) -> Source {
    Source { name, ip, identity: Some(identity), request, first: "" }
}

const INGRESS: &str = "istio-system/istio-ingressgateway-service-account";
const CULLER: &str = "kubeflow/notebook-controller-service-account";
const GATEWAYS: [&str; 2] = ["127.10.0.1", "127.10.0.2"];
const LATER: &str = "127.10.0.3";
const DIRECT: &str = "127.10.6.0/24";

/// Everybody who may try.
const SOURCES: [Source; 14] = [
    plain("gateway", GATEWAYS[0]),
    plain("another gateway", GATEWAYS[1]),
    plain("gateway that came later", LATER),
    plain("laptop of a direct network", "127.10.6.7"),
    plain("laptop beside it", "127.10.7.7"),
    plain("Pod of the profile, as it is", "127.10.0.4"),
    meshed("Pod of the profile, by its sidecar", "127.10.0.4", "team-a/default-editor", JUPYTER),
    plain("Pod of another profile, as it is", "127.10.0.5"),
    meshed("Pod of another profile, by its sidecar", "127.10.0.5", "team-b/default-editor", JUPYTER),
    meshed("ingress for the owner", "127.10.0.8", INGRESS, AS_ANN),
    meshed("ingress for a contributor", "127.10.0.8", INGRESS, AS_BOB),
    meshed("ingress for a stranger", "127.10.0.8", INGRESS, AS_EVE),
    Source { name: "stranger with the owner's header", ip: "127.10.0.9", identity: None, request: AS_ANN, first: "" },
    meshed("culler", "127.10.0.10", CULLER, KERNELS),
];

/// What Kubeflow ships for the mesh (`common/istio*/istio-install/base/deny_all_authorizationpolicy.yaml` of
/// kubeflow/manifests) and writes for a profile with one contributor.
fn kubeflow() -> Vec<Value> {
    let owner = json!({"kind": "User", "name": "ann@example.com", "apiGroup": "rbac.authorization.k8s.io"});
    let profile = Profile { name: NAMESPACE.to_owned(), owner: serde_json::from_value(owner).unwrap(), quota: None };
    let (_, contributor) = contributor(NAMESPACE, "bob@example.com", Role::Edit);
    let written = [owner_policy(&profile), contributor].map(|policy| serde_json::to_value(policy).unwrap());
    let deny_all = json!({"metadata": {"name": "global-deny-all", "namespace": "istio-system"}, "spec": {}});
    [deny_all].into_iter().chain(written).collect()
}

/// A namespace where mutual TLS is asked for everywhere.
fn strict() -> Vec<Value> {
    let metadata = json!({"name": "default", "namespace": NAMESPACE, "creationTimestamp": "2026-01-01T00:00:00Z"});
    let peer = json!({"kind": "PeerAuthentication", "metadata": metadata, "spec": {"mtls": {"mode": "STRICT"}}});
    [kubeflow(), vec![peer]].concat()
}

/// A Pod under these policies, in a mesh that waits for a client's first bytes but a moment: what is asked here are
/// the policies.
fn pod(policies: Vec<Value>) -> Pod {
    let [mtls, ssh_mtls] = mtls(&policies);
    let policies = policies.into_iter().filter(|object| object["kind"] != "PeerAuthentication").collect();
    Pod { ip: String::new(), policies, mtls, ssh_mtls, listed: false, patience: "0.2s" }
}

/// What came of dialling 2209 and 8888, for each of [`SOURCES`].
async fn dialled(mesh: &Mesh, pod: usize) -> Vec<(Came, Came)> {
    let each =
        SOURCES.map(|source| async move { tokio::join!(mesh.dial(pod, source, 2209), mesh.dial(pod, source, 8888)) });
    join_all(each).await
}

#[tokio::test(flavor = "multi_thread")]
async fn policies() {
    let ours = |others: Vec<Value>| pod(with_ours(&others, &GATEWAYS, DIRECT));
    let later = pod(with_ours(&kubeflow(), &[GATEWAYS[1], LATER], DIRECT));
    let nobody = pod(with_ours(&kubeflow(), &[], DIRECT));
    // Each with the one that it is beside ours.
    let cases = [
        ("nothing", pod(vec![]), None),
        ("ours", ours(vec![]), Some(0)),
        ("Kubeflow's", pod(kubeflow()), None),
        ("Kubeflow's and ours", ours(kubeflow()), Some(2)),
        ("Kubeflow's and ours, after a gateway was replaced", later, Some(2)),
        ("Kubeflow's and ours, while there is no gateway", nobody, Some(2)),
        ("Kubeflow's, STRICT", pod(strict()), None),
        ("Kubeflow's, STRICT, and ours", ours(strict()), Some(6)),
    ];
    let mesh = Mesh::start(cases.iter().map(|(_, pod, _)| pod.clone()).collect()).await;
    let mut came = vec![];
    for case in 0..cases.len() {
        came.push(dialled(&mesh, case).await);
    }
    let mut table = vec![];
    for ((name, _, without), came_here) in cases.iter().zip(&came) {
        table.push(format!("{name}:\n  {:40}{:10}8888", "", "2209"));
        let line = |(source, (ssh, web)): (&Source, &(Came, Came))| {
            format!("  {:40}{:10}{}", source.name, word(*ssh), word(*web))
        };
        table.extend(SOURCES.iter().zip(came_here).map(line));
        let web = |all: &[(Came, Came)]| all.iter().map(|(_, web)| *web).collect::<Vec<_>>();
        if let Some(without) = without {
            assert_eq!(web(came_here), web(&came[*without]), "`{name}` changed 8888");
        }
    }
    insta::assert_snapshot!(table.join("\n"));
}

/// A sidecar that guesses protocols waits for the client's first bytes, and a gateway waits for the sshd's: with Istio's
/// `protocolDetectionTimeout` of 0 both wait for ever. Policies never come into it.
#[tokio::test(flavor = "multi_thread")]
async fn first_bytes() {
    let istios = |listed, ssh_mtls| Pod { listed, ssh_mtls, patience: "0s", ..pod(vec![]) };
    let cases = [
        ("no Service lists 2209, PERMISSIVE", istios(false, Mtls::Permissive)),
        ("no Service lists 2209, DISABLE", istios(false, Mtls::Disable)),
        ("a Service lists it as TCP, PERMISSIVE", istios(true, Mtls::Permissive)),
        ("a Service lists it as TCP, DISABLE", istios(true, Mtls::Disable)),
        ("no Service, and a timeout of the mesh's admin", Pod { patience: "0.2s", ..istios(false, Mtls::Permissive) }),
    ];
    let mesh = Mesh::start(cases.iter().map(|(_, pod)| pod.clone()).collect()).await;
    // Nothing; the part that all clients' lines have in common; a whole line. Envoy's `http_inspector` takes a whole one.
    let firsts = ["", "SSH-2.0-", "SSH-2.0-any\n"];
    let mesh = &mesh;
    let dialled = |case| join_all(firsts.map(|first| mesh.dial(case, Source { first, ..SOURCES[0] }, 2209)));
    let came = join_all((0..cases.len()).map(dialled)).await;
    let row = |name: &str, cells: [&str; 3]| format!("{name:48}{:22}{:22}{}", cells[0], cells[1], cells[2]);
    let head = row("", ["says nothing first", "says SSH-2.0- first", "says its line first"]);
    let lines = cases.iter().zip(came).map(|((name, _), came)| row(name, [0, 1, 2].map(|cell| word(came[cell]))));
    insta::assert_snapshot!([head].into_iter().chain(lines).collect::<Vec<_>>().join("\n"));
}

fn word(came: Came) -> &'static str {
    match came {
        Came::Passes => "passes",
        Came::Refused => "refused",
        Came::Waits => "waits for the client",
    }
}
