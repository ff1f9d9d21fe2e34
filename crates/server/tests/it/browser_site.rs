//! All that is between a person and a cluster: a real Chromium, the stand-in for Kubeflow's ingress, the program itself
//! with a page and a gateway, a database, and a real API server whose Pods the tests write.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fairlead_lab::apiserver::free_ports;
use fairlead_lab::ingress::{Ingress, IngressSettings};
use fairlead_server::store::Store;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::browser::{Browser, Options};
use crate::cluster::{Cluster, eventually, mounted};
use crate::databases::Database;
use crate::gateway_bed::Sshd;

/// What ingress and page share here.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The whole. Its people: alice owns team-a, bob edits there, carol views; erin owns team-b; root is admin of Fairlead.
pub(crate) struct Site {
    pub(crate) cluster: Cluster,
    /// The dashboard's address, without a slash at its end.
    pub(crate) url: String,
    ingress: JoinHandle<()>,
    program: Child,
}

/// A Pod's address at which something greets as an sshd does.
pub(crate) struct Greeter {
    place: Sshd,
    work: JoinHandle<()>,
}

impl Site {
    /// On a database, with these flags besides; waits until the page answers.
    pub(crate) async fn start(database: Database, flags: &[&str]) -> Self {
        let cluster = Cluster::on(database).await;
        for (space, owner) in [("team-a", "alice"), ("team-b", "erin")] {
            cluster.profile(space, &mail(owner)).await;
        }
        cluster.contributor("team-a", "user-bob", &mail("bob"), "edit").await;
        cluster.contributor("team-a", "user-carol", &mail("carol"), "view").await;
        let [page, gateway] = free_ports().unwrap().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let program = serve(&cluster, page, gateway, flags).spawn().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let people = ["alice@example.com=team-a,team-b", "bob@example.com=team-a", "root@example.com"];
        let people = people.map(|person| person.parse().unwrap()).to_vec();
        let settings = IngressSettings { secret: SECRET.to_owned(), people };
        let ingress = tokio::spawn(async move { Ingress::serve(listener, &page.to_string(), settings).await.unwrap() });
        let mut site = Self { cluster, url, ingress, program };
        site.answers(page).await;
        site.answers(gateway).await;
        site
    }

    async fn answers(&mut self, address: SocketAddr) {
        eventually("the server listens", async || {
            assert_eq!(self.program.try_wait().unwrap(), None, "the server ended");
            TcpStream::connect(address).await.ok()
        })
        .await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.cluster.store
    }

    /// The address of one of the page's paths.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}/fairlead{path}", self.url)
    }

    /// Somebody's browser, signed in, at a path of the page.
    pub(crate) async fn visit(&self, who: &str, path: &str) -> Browser {
        self.visit_with(who, path, Options::default()).await
    }

    /// The same with another browser.
    pub(crate) async fn visit_with(&self, who: &str, path: &str, options: Options) -> Browser {
        let browser = Browser::open(options).await;
        self.sign_in(&browser, who).await;
        browser.goto(&self.at(path)).await;
        browser
    }

    /// Becomes somebody, or somebody else.
    pub(crate) async fn sign_in(&self, browser: &Browser, who: &str) {
        browser.goto(&format!("{}/sign-out", self.url)).await;
        browser.fill("input[name=person]", &mail(who)).await;
        browser.press("\u{e007}").await;
        browser.wait_text("#user", &mail(who), 10).await;
    }

    /// A Notebook with an image and sizes; its UID.
    pub(crate) async fn notebook(&self, namespace: &str, name: &str, annotations: Value) -> String {
        let sizes = json!({"limits": {"cpu": "2", "memory": "8Gi", "nvidia.com/gpu": "1"},
            "requests": {"cpu": "2", "memory": "8Gi"}});
        let image = format!("registry.example.com/images/jupyter-{name}:v1");
        let container = json!({"name": name, "image": image, "resources": sizes});
        let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"template": {"spec": {"containers": [container]}}}});
        let made = self.cluster.apply(Some(namespace), notebook).await;
        let uid = made.metadata.uid.unwrap();
        self.cluster.stateful_set(namespace, name, &uid).await;
        uid
    }

    /// A notebook whose Pod runs at an address, with its Secret mounted.
    pub(crate) async fn running(&self, namespace: &str, name: &str, ip: IpAddr) {
        self.notebook(namespace, name, json!({})).await;
        self.pod(namespace, name, ip, mounted).await;
    }

    /// The Pod of a notebook.
    pub(crate) async fn pod(&self, namespace: &str, name: &str, ip: IpAddr, change: impl FnOnce(&mut Value)) {
        let sets = self.cluster.api::<k8s_openapi::api::apps::v1::StatefulSet>(namespace);
        let set = sets.get(name).await.unwrap().metadata.uid.unwrap();
        self.cluster.pod(namespace, &format!("{name}-0"), name, Some(&set), &ip.to_string(), change).await;
    }

    /// An annotation of a Notebook, as the API server has it.
    pub(crate) async fn annotation(&self, namespace: &str, name: &str, annotation: &str) -> Option<String> {
        let notebook = self.cluster.notebooks(namespace).get(name).await.unwrap();
        notebook.metadata.annotations.and_then(|mut all| all.remove(annotation))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.ingress.abort();
        // It may have ended.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Greeter {
    pub(crate) async fn start() -> Self {
        let place = Sshd::absent();
        let listener = TcpListener::bind((place.ip, 2209)).await.unwrap();
        let work = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // Whoever asks may be gone again.
                let _ = stream.write_all(b"SSH-2.0-greeter\r\n").await;
            }
        });
        Self { place, work }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.place.ip
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.work.abort();
    }
}

fn serve(cluster: &Cluster, page: SocketAddr, gateway: SocketAddr, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
    command.args(["serve", "--parts", "operator,page,gateway", "--metrics-listen", "127.0.0.1:0"]);
    command.args(["--page-listen", &page.to_string(), "--gateway-listen", &gateway.to_string()]);
    command.args(["--gateway-address", &gateway.to_string(), "--page-ingress-secret", SECRET]);
    command.args(["--page-admins", &mail("root"), "--page-admin-on-shared-origin", "--page-insecure-cookies"]);
    command.args(flags);
    command.env("FAIRLEAD_KUBECONFIG", &cluster.plane.kubeconfig).env("FAIRLEAD_DATABASE", cluster.url());
    command
}

/// Somebody's user id.
pub(crate) fn mail(who: &str) -> String {
    format!("{who}@example.com")
}

/// How long until `ask` says yes.
pub(crate) async fn until(what: &str, ask: impl AsyncFn() -> bool) -> Duration {
    let began = std::time::Instant::now();
    while !ask().await {
        assert!(began.elapsed() < Duration::from_secs(20), "never so: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    began.elapsed()
}
