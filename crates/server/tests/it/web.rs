//! Health and metrics, by real HTTP.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::net::SocketAddr;
use std::sync::Arc;

use fairlead_server::web::{self, Direction, Metrics, Outcome, Readiness};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What `GET PATH` is answered, with its head.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn it_is_alive_at_once_and_ready_when_all_conditions_are_met() {
    let (readiness, metrics) = (Arc::new(Readiness::new()), Arc::new(Metrics::new()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(listener, readiness.clone(), metrics.clone()));
    readiness.wait_for("world", "the cluster was not seen yet");
    readiness.wait_for("store", "the database is not open yet");

    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    let ready = get(address, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("world: the cluster was not seen yet\n"), "{ready}");
    assert!(ready.contains("store: the database is not open yet\n"), "{ready}");
    readiness.met("store");
    readiness.met("world");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.wait_for("world", "it is stale");
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn metrics_have_their_documented_names() {
    let metrics = Arc::new(Metrics::new());
    metrics.sessions_active.inc();
    metrics.sessions.get_or_create(&Outcome { outcome: "opened" }).inc();
    metrics.signins.get_or_create(&Outcome { outcome: "accepted" }).inc();
    metrics.session_bytes.get_or_create(&Direction { direction: "up" }).inc_by(5);
    metrics.world_notebooks.set(3);
    metrics.store_queue.set(2);
    metrics.secret_writes.get_or_create(&Outcome { outcome: "written" }).inc();
    metrics.webhook_seconds.observe(0.001);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(web::serve(listener, Arc::default(), metrics));
    let text = get(address, "/metrics").await;
    for line in [
        "content-type: application/openmetrics-text",
        "\nfairlead_sessions_active 1\n",
        concat!("\nfairlead_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        "\nfairlead_sessions_total{outcome=\"opened\"} 1\n",
        "\nfairlead_signins_total{outcome=\"accepted\"} 1\n",
        "\nfairlead_session_bytes_total{direction=\"up\"} 5\n",
        "\nfairlead_world_notebooks 3\n",
        "\nfairlead_store_queue 2\n",
        "\nfairlead_secret_writes_total{outcome=\"written\"} 1\n",
        "\nfairlead_webhook_seconds_count 1\n",
        "\n# EOF\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}
