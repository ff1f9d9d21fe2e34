//! The webhook behind a real API server: what it mounts, what it leaves alone, and its certificate.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead_model::plan::{MODE, MOUNT, VOLUME};
use fairlead_server::clock;
use fairlead_server::web::Metrics;
use fairlead_server::webhook::{Webhook, certificate};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Config};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::cluster::{Cluster, SYSTEM, eventually};

/// A webhook that runs until it is dropped.
struct Running {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

fn start(cluster: &Cluster) -> Running {
    start_with(cluster, false)
}

fn start_with(cluster: &Cluster, exclude: bool) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let metrics = Arc::new(Metrics::new());
    let webhook = Webhook {
        client: cluster.own.clone(),
        namespace: SYSTEM.to_owned(),
        names: vec!["127.0.0.1".to_owned()],
        look: Duration::from_millis(200),
        metrics: metrics.clone(),
        exclude,
        now: clock::now,
    };
    let serving = webhook.serve(listener, stop.clone());
    tokio::spawn(async move { serving.await.unwrap() });
    Running { address, metrics, _stop: stop.drop_guard() }
}

/// The configuration as the manifests have it, but for the way to the webhook.
async fn register(cluster: &Cluster, address: SocketAddr) {
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]});
    let webhook = json!({"name": "pods.fairlead.dev", "clientConfig": {"url": format!("https://{address}/mutate")},
        "rules": [rule], "failurePolicy": "Ignore", "timeoutSeconds": 2, "sideEffects": "None",
        "admissionReviewVersions": ["v1"], "reinvocationPolicy": "IfNeeded",
        "objectSelector": {"matchExpressions": [{"key": "notebook-name", "operator": "Exists"}]}});
    let configuration = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "fairlead"}, "webhooks": [webhook]});
    cluster.apply(None, configuration).await;
}

/// The bundle that the API server trusts, once it is the one of the certificate.
async fn trusted(cluster: &Cluster, previous: &str) -> String {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(cluster.admin.clone());
    eventually("the bundle is written", async || {
        let bundle = configurations.get("fairlead").await.unwrap().webhooks?[0].client_config.ca_bundle.clone()?;
        let bundle = String::from_utf8(bundle.0).unwrap();
        (bundle != previous).then_some(bundle)
    })
    .await
}

/// A client of the webhook itself that trusts one certificate.
fn direct(address: SocketAddr, certificate: &str) -> Client {
    let mut config = Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap().to_vec()]);
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

fn review() -> http::Request<Vec<u8>> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "ml-0", "namespace": "team-a", "labels": {"notebook-name": "ml"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "ml", "uid": "u",
                "controller": true}]},
        "spec": {"containers": [{"name": "ml", "image": "any"}]}});
    let request = json!({"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"}, "operation": "CREATE", "userInfo": {},
        "name": "ml-0", "namespace": "team-a", "object": pod});
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request});
    let request = http::Request::post("/mutate").header("content-type", "application/json");
    request.body(serde_json::to_vec(&review).unwrap()).unwrap()
}

fn mounts(pod: &Pod) -> Vec<(String, String)> {
    let containers = &pod.spec.as_ref().unwrap().containers;
    let mounts = containers.iter().flat_map(|one| one.volume_mounts.iter().flatten().map(move |it| (one, it)));
    mounts.map(|(container, mount)| (container.name.clone(), mount.mount_path.clone())).collect()
}

async fn make(cluster: &Cluster, name: &str, change: impl FnOnce(&mut Value)) -> Pod {
    cluster.pod("team-a", name, "ml", Some("any-set"), "10.1.0.1", change).await;
    cluster.api::<Pod>("team-a").get(name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_notebooks_get_the_secret_and_nothing_keeps_a_pod_from_being_made() {
    let cluster = Cluster::start().await;
    cluster.namespace("team-a", None).await;
    let webhook = start(&cluster);
    assert!(webhook.metrics.text().unwrap().contains("\nfairlead_webhook_seconds_count 0\n"));
    // The configuration comes after the webhook: it is awaited.
    register(&cluster, webhook.address).await;
    trusted(&cluster, "").await;
    let mut count = 0;
    let pod = eventually("the API server calls the webhook", async || {
        count += 1;
        let name = format!("try-{count}");
        let pod = make(&cluster, &name, |pod| {
            let sidecar = json!({"name": "istio-proxy", "image": "any"});
            pod["spec"]["containers"].as_array_mut().unwrap().insert(0, sidecar);
        });
        Some(pod.await).filter(|pod| !mounts(pod).is_empty())
    })
    .await;
    assert_eq!(mounts(&pod), [("ml".to_owned(), MOUNT.to_owned())]);
    let metrics = webhook.metrics.text().unwrap();
    assert!(!metrics.contains("fairlead_webhook_seconds_count 0\n"), "an answer is measured: {metrics}");
    let spec = pod.spec.unwrap();
    assert_eq!(spec.containers[1].volume_mounts.as_ref().unwrap()[0].read_only, Some(true));
    let volume = &spec.volumes.unwrap()[0];
    let secret = volume.secret.as_ref().unwrap();
    assert_eq!(volume.name, VOLUME);
    assert_eq!(secret.secret_name.as_deref(), Some("fairlead-ml"));
    assert_eq!((secret.optional, secret.default_mode), (Some(true), Some(MODE)));

    // One that has it already stays as it is; one that is not surely a notebook's is made as it was asked for.
    let again = make(&cluster, "again", crate::cluster::mounted).await;
    assert_eq!(mounts(&again), [("ml".to_owned(), MOUNT.to_owned())]);
    let without = |pod: &mut Value| pod["metadata"]["ownerReferences"] = json!([]);
    assert!(mounts(&make(&cluster, "no-owner", without).await).is_empty());
    let host = |pod: &mut Value| pod["spec"]["hostNetwork"] = true.into();
    assert!(mounts(&make(&cluster, "node-network", host).await).is_empty());
    let other = |pod: &mut Value| pod["spec"]["containers"][0]["name"] = "other".into();
    assert!(mounts(&make(&cluster, "other-container", other).await).is_empty());
    let unlabelled = |pod: &mut Value| pod["metadata"]["labels"] = json!({});
    assert!(mounts(&make(&cluster, "unlabelled", unlabelled).await).is_empty());

    // Gone: notebooks still start.
    drop(webhook);
    eventually("it has ended", async || {
        count += 1;
        let pod = make(&cluster, &format!("try-{count}"), |_| ()).await;
        mounts(&pod).is_empty().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_is_renewed_trusted_and_served_without_a_restart() {
    let cluster = Cluster::start().await;
    cluster.namespace("team-a", None).await;
    let webhook = start(&cluster);
    register(&cluster, webhook.address).await;
    let first = trusted(&cluster, "").await;
    let served = async || certificate::read(&cluster.secret(SYSTEM, certificate::SECRET).await.unwrap()).unwrap();
    assert_eq!(served().await.bundle, first);
    direct(webhook.address, &first).request_text(review()).await.unwrap();

    let due = Patch::Merge(json!({"metadata": {"annotations": {"fairlead.dev/renew-after": "1"}}}));
    let secrets = cluster.api::<Secret>(SYSTEM);
    secrets.patch(certificate::SECRET, &PatchParams::default(), &due).await.unwrap();
    let second = trusted(&cluster, &first).await;
    let now = served().await;
    assert_ne!(now.certificate, first);
    assert_eq!(second, format!("{}{first}", now.certificate), "the one before stays trusted");
    eventually("the new one is served", async || {
        direct(webhook.address, &now.certificate).request_text(review()).await.ok()
    })
    .await;
    assert!(direct(webhook.address, &first).request_text(review()).await.is_err());

    // Written over by somebody: put back.
    register(&cluster, webhook.address).await;
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(cluster.admin.clone());
    let wrong = Patch::Json::<()>(
        serde_json::from_value(json!([{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}])).unwrap(),
    );
    configurations.patch("fairlead", &PatchParams::default(), &wrong).await.unwrap();
    assert_eq!(trusted(&cluster, "").await, second);
}

/// A connection with a request that announces more than it sends.
fn slow(address: SocketAddr, certificate: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
    let connection = ClientConnection::new(config, ServerName::try_from(address.ip().to_string()).unwrap()).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
    let head =
        "POST /mutate HTTP/1.1\r\nhost: it\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_strangers_take_no_more_than_their_part_and_not_for_ever() {
    let cluster = Cluster::start().await;
    let webhook = start(&cluster);
    let secret = eventually("a certificate", async || cluster.secret(SYSTEM, certificate::SECRET).await).await;
    let certificate = certificate::read(&secret).unwrap().certificate;
    let address = webhook.address;
    let good = async || direct(address, &certificate).request_text(review()).await;
    good().await.unwrap();

    let held: Vec<_> = (0..40).map(|_| slow(address, &certificate)).collect();
    let begin = Instant::now();
    let refused = good().await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 503), "{refused:?}");
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    eventually("served again while all of them are still there", async || good().await.ok()).await;
    drop(held);

    // Connections that say nothing at all: those too many are closed at once, the others when their time is over.
    let held: Vec<_> = (0..300).map(|_| TcpStream::connect(address).unwrap()).collect();
    let begin = Instant::now();
    let closed = eventually("those too many are closed", async || {
        let closed = held.iter().filter(|stream| {
            stream.set_nonblocking(true).unwrap();
            !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        Some(closed.count()).filter(|count| *count >= 300 - 256)
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(3) && closed < 60, "{closed} after {:?}", begin.elapsed());
    drop(held);
    eventually("served again", async || good().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_takes_less_than_10_ms() {
    let cluster = Cluster::start().await;
    let webhook = start(&cluster);
    let secret = eventually("a certificate", async || cluster.secret(SYSTEM, certificate::SECRET).await).await;
    let client = direct(webhook.address, &certificate::read(&secret).unwrap().certificate);
    let mut times = Vec::new();
    for _ in 0..100 {
        let begin = Instant::now();
        let answer: Value = serde_json::from_str(&client.request_text(review()).await.unwrap()).unwrap();
        times.push(begin.elapsed());
        assert_eq!(answer["response"]["allowed"], true);
        assert!(!answer["response"]["patch"].is_null());
    }
    times.sort();
    println!("webhook: median {:?}, slowest {:?}", times[50], times[99]);
    assert!(times[50] < Duration::from_millis(10), "{:?}", times[50]);
    // What it cannot read it does not take for a denial: the API server goes on by `failurePolicy`.
    let garbage = http::Request::post("/mutate").header("content-type", "application/json");
    assert!(client.request_text(garbage.body(b"{}".to_vec()).unwrap()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_excluded_from_sidecars_where_the_admin_wants_it() {
    let cluster = Cluster::start().await;
    cluster.namespace("team-a", None).await;
    let webhook = start_with(&cluster, true);
    register(&cluster, webhook.address).await;
    trusted(&cluster, "").await;
    let key = "traffic.sidecar.istio.io/excludeInboundPorts";
    let excluded = |pod: &Pod| pod.metadata.annotations.as_ref().and_then(|all| all.get(key).cloned());
    let mut count = 0;
    let first = eventually("the API server calls the webhook", async || {
        count += 1;
        let pod = make(&cluster, &format!("try-{count}"), |_| ()).await;
        excluded(&pod)
    })
    .await;
    assert_eq!(first, "2209");
    for (name, ports, expected) in [("some", "15090", "15090,2209"), ("there", "80,2209", "80,2209"), ("all", "*", "*")]
    {
        let pod = make(&cluster, name, |pod| pod["metadata"]["annotations"] = json!({key: ports})).await;
        assert_eq!(excluded(&pod).as_deref(), Some(expected));
        assert_eq!(mounts(&pod), [("ml".to_owned(), MOUNT.to_owned())]);
    }
    let mounted = make(&cluster, "mounted", crate::cluster::mounted).await;
    assert_eq!(excluded(&mounted).as_deref(), Some("2209"), "who has the mount already is no less a notebook");
    let without = |pod: &mut Value| pod["metadata"]["ownerReferences"] = json!([]);
    assert_eq!(excluded(&make(&cluster, "no-owner", without).await), None);
}
