//! A whole page on loopback over a world of a few people and notebooks, asked by plain HTTP as an ingress asks it.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::body::Body;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use clap::Parser as _;
use fairlead_model::client_config::{GatewayAddress, known_hosts};
use fairlead_model::identity::Authority;
use fairlead_model::world::{Member, Namespace, Profile, Shown, StatefulSet, Switch};
use fairlead_model::{Fact, HostSuffix, Label, Role, Time, World};
use fairlead_server::ledger::{self, Facts};
use fairlead_server::page::{Page, Parts, Settings};
use fairlead_server::recorder::Recorder;
use fairlead_server::serve::feed_rows;
use fairlead_server::settings::PageFlags;
use fairlead_server::store::Store;
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::gateway_bed::{id, label, person, pod, running};

/// What ingress and page share here.
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A token against forged posts, as the page gives them.
const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// The whole.
pub(crate) struct PageBed {
    pub(crate) facts: Facts,
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    client: Client<HttpConnector, Body>,
    _stop: DropGuard,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    page: PageFlags,
}

impl PageBed {
    /// On a database, with the settings of an ingress, `root@example.com` as admin, and these flags besides.
    pub(crate) async fn start(store: Store, flags: &[&str]) -> Self {
        let bed = Self::start_unseen(store, flags).await;
        bed.populate().await;
        bed
    }

    /// The same without people and notebooks.
    pub(crate) async fn start_unseen(store: Store, flags: &[&str]) -> Self {
        let given = ["--page-admins", "root@example.com", "--page-admin-on-shared-origin"];
        Self::start_with(store, &[&given, flags].concat()).await
    }

    /// The same with these flags and no admin.
    pub(crate) async fn start_with(store: Store, flags: &[&str]) -> Self {
        let trust = if flags.contains(&"--page-demo") {
            ["--page-listen", "127.0.0.1:0"]
        } else {
            ["--page-ingress-secret", SECRET]
        };
        let flags = Flags::parse_from(["page"].iter().chain(&trust).chain(flags)).page;
        let (facts, worlds) = ledger::start(World::default());
        tokio::spawn(feed_rows(store.clone(), facts.clone()));
        let authority = Authority::from_openssh(&Authority::generate(&[9; 32]).unwrap()).unwrap();
        let lines = known_hosts(&HostSuffix::default(), &authority.public_line());
        let page = Page::new(Parts {
            worlds,
            store: store.clone(),
            recorder: Recorder::start(store.clone()),
            known_hosts: watch::channel(lines).1,
            gateway: GatewayAddress::parse("ssh.example.com").unwrap(),
            suffix: HostSuffix::default(),
            settings: Settings::read(&flags).unwrap(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(page.run(listener, stop.clone()));
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        Self { facts, store, address, client, _stop: stop.drop_guard() }
    }

    /// alice owns team-a, bob edits there, carol views; erin owns team-b; dave is nobody. In team-a: bert runs, grover is
    /// stopped, elmo was made before Fairlead. In team-b: ernie runs.
    pub(crate) async fn populate_unseen(&self) {
        for (space, owner) in [("team-a", "alice"), ("team-b", "erin")] {
            let owner = Some(person(owner));
            self.fact(Fact::Profile(label(space), Some(Profile { owner: owner.clone() }))).await;
            self.fact(Fact::Namespace(label(space), Some(Namespace { owner, ssh: Switch::Unset, created: Time(1) })))
                .await;
        }
        for (number, (space, name)) in
            [("team-a", "bert"), ("team-a", "grover"), ("team-a", "elmo"), ("team-b", "ernie")].into_iter().enumerate()
        {
            let mut notebook = running(name);
            notebook.stopped = name == "grover";
            notebook.shown = Shown {
                image: format!("registry.example.com/images/jupyter-{name}:v1"),
                cpu: "2".to_owned(),
                memory: "8Gi".to_owned(),
                gpus: u32::from(name == "bert"),
                created: Time(1_790_000_000_000),
            };
            self.fact(Fact::Notebook(id(space, name), Some(notebook))).await;
            let set = StatefulSet { namespace: label(space), notebook: format!("notebook-{name}") };
            self.fact(Fact::StatefulSet(format!("set-{name}"), Some(set))).await;
            if name != "grover" {
                let mut pod = pod(name, "1", format!("198.18.0.{}", number + 1).parse().unwrap());
                if name == "elmo" {
                    pod.mounted = BTreeMap::new();
                }
                self.fact(Fact::Pod(label(space), format!("{name}-0"), Some(pod))).await;
            }
        }
        self.member("bob", Some(Role::Edit)).await;
        self.member("carol", Some(Role::View)).await;
    }

    async fn populate(&self) {
        self.populate_unseen().await;
        // A loop of its own: what is awaited in a closure is not `Send` enough for stories.
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
        while !self.get("alice", "/").await.text.contains("bert.team-a.notebook") {
            assert!(tokio::time::Instant::now() < deadline, "the page does not know the notebooks");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Tells the ledger.
    pub(crate) async fn fact(&self, fact: Fact) {
        self.facts.send(fact).await.unwrap();
    }

    /// Gives somebody a role in team-a, or takes it.
    pub(crate) async fn member(&self, who: &str, role: Option<Role>) {
        let member = role.map(|role| Member { person: person(who), role });
        self.fact(Fact::Member(Label::parse("team-a").unwrap(), format!("binding-{who}"), member)).await;
    }

    /// A request by the ingress for somebody, with the token against forged posts.
    pub(crate) fn request(&self, who: &str, method: Method, path: &str) -> http::request::Builder {
        let request = Request::builder().method(method).uri(format!("http://{}/fairlead{path}", self.address));
        request
            .header("kubeflow-userid", format!("{who}@example.com"))
            .header("x-fairlead-ingress", SECRET)
            .header("cookie", format!("XSRF-TOKEN={TOKEN}"))
            .header("x-xsrf-token", TOKEN)
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// A stream of events as somebody, which goes on.
    pub(crate) async fn stream(&self, who: &str, path: &str) -> Response<Body> {
        self.client
            .request(self.request(who, Method::GET, path).body(Body::empty()).unwrap())
            .await
            .unwrap()
            .map(Body::new)
    }

    /// The same; of a stream of events the head alone, because it has no end.
    pub(crate) async fn send_head(&self, request: Request<Body>) -> Answer {
        let response = self.client.request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let is_stream = parts.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let bytes = if is_stream { Bytes::new() } else { body.collect().await.unwrap().to_bytes() };
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// `GET` as somebody.
    pub(crate) async fn get(&self, who: &str, path: &str) -> Answer {
        self.send(self.request(who, Method::GET, path).body(Body::empty()).unwrap()).await
    }

    /// A form as somebody.
    pub(crate) async fn post(&self, who: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = self.request(who, Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        self.send(form.body(serde_urlencoded::to_string(fields).unwrap().into()).unwrap()).await
    }

    /// JSON as somebody.
    pub(crate) async fn api(&self, who: &str, method: Method, path: &str, json: &serde_json::Value) -> Answer {
        let request = self.request(who, method, &format!("/api/v1{path}")).header("content-type", "application/json");
        self.send(request.body(json.to_string().into()).unwrap()).await
    }
}

/// What comes back for bytes as they are: a `GET` of `/api/v1/me` with the secret, these headers, and this after them.
pub(crate) async fn raw(bed: &PageBed, headers: &str, rest: &str) -> String {
    let head = format!("GET /fairlead/api/v1/me HTTP/1.1\r\nhost: x\r\nx-fairlead-ingress: {SECRET}\r\n{headers}");
    say(bed, &format!("{head}connection: close\r\n\r\n{rest}")).await
}

/// The same for a whole request, which asks that the connection be closed.
pub(crate) async fn say(bed: &PageBed, request: &str) -> String {
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Text as a part of a path.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}
