//! Visitors who load pages: the same client for the page and for its peer, in turns.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, Response, StatusCode};
use futures::future::try_join_all;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::super::running::{Running, SECRET};
use super::cast;
use crate::apiserver;
use crate::process::{self, Process};

/// Requests in a row before it is the other's turn.
const TURN: usize = 5;
/// A token against forged posts, as a browser has it after its first visit.
const TOKEN: &str = "00112233445566778899aabbccddeeff";

/// Somebody with a client, and the peer's process.
pub(super) struct Visits {
    client: Client<HttpConnector, Body>,
    page: SocketAddr,
    peer: SocketAddr,
    folder: PathBuf,
    /// The page of one profile.
    pub(super) small: Target,
    /// The page of all profiles.
    pub(super) large: Target,
}

/// A page that is loaded again and again.
pub(super) struct Target {
    /// For the table.
    pub(super) name: String,
    pub(super) who: String,
    /// Everybody who sees just the same.
    pub(super) people: Vec<String>,
    /// The path of its stream of events, with the version that the page showed.
    pub(super) events: String,
    file: &'static str,
}

impl Visits {
    /// Waits until the page knows everything, and starts the peer with what it shows.
    pub(super) async fn start(page: &Running, state: &Path) -> Result<Self> {
        let [port] = apiserver::free_ports()?;
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        let folder = state.join("peer");
        fs::create_dir_all(&folder).with_context(|| format!("making `{}`", folder.display()))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        let target = |people: Vec<String>, file| {
            let who = people.first().cloned().unwrap_or_default();
            Target { name: String::new(), who, people, events: String::new(), file }
        };
        let (small, large) = (target(cast::in_the_first(), "small.html"), target(cast::everywhere(), "large.html"));
        let mut visits = Self { client, page: page.page, peer, folder: folder.clone(), small, large };
        visits.small = visits.look(&visits.small, cast::NOTEBOOKS, &folder).await?;
        visits.large = visits.look(&visits.large, cast::PROFILES * cast::NOTEBOOKS, &folder).await?;
        let mut command = Command::new(std::env::current_exe().context("finding the lab's program")?);
        command.arg("bench-page-peer").arg(format!("--listen={peer}")).arg("--folder").arg(&folder);
        let process = Process::start(&folder, "peer", &command)?;
        while tokio::net::TcpStream::connect(peer).await.is_err() {
            process.must_live()?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(visits)
    }

    /// Loads a page until it has all cards, and keeps its bytes for the peer.
    async fn look(&self, target: &Target, cards: usize, folder: &Path) -> Result<Target> {
        let deadline = Instant::now() + Duration::from_mins(1);
        let bytes = loop {
            let bytes = self.load(&self.of_page("/", &target.who)?).await?;
            let found = String::from_utf8_lossy(&bytes).matches("data-key=").count();
            if found == cards {
                break bytes;
            }
            ensure!(Instant::now() < deadline, "the page of {} shows {found} of {cards} notebooks", target.who);
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        fs::write(folder.join(target.file), &bytes).context("keeping a page for the peer")?;
        let text = String::from_utf8_lossy(&bytes);
        let events = text.split_once("data-events=\"/fairlead").and_then(|(_, rest)| rest.split_once('"'));
        let events = events.map(|(path, _)| path.replace("&amp;", "&").replace("&#38;", "&"));
        Ok(Target {
            name: format!("page of {cards} notebooks ({} KiB)", bytes.len() / 1024),
            who: target.who.clone(),
            people: target.people.clone(),
            events: events.context("the page names no stream of events")?,
            file: target.file,
        })
    }

    /// A request as the ingress passes it on.
    fn of_page(&self, path: &str, who: &str) -> Result<Request<()>> {
        let request = Request::get(format!("http://{}/fairlead{path}", self.page));
        let request = request.header("kubeflow-userid", who).header("x-fairlead-ingress", SECRET);
        request.header("cookie", format!("XSRF-TOKEN={TOKEN}")).body(()).context("writing a request")
    }

    async fn answer(&self, request: &Request<()>) -> Result<Response<Body>> {
        let answer = self.client.request(request.clone().map(|()| Body::empty())).await;
        let answer = answer.with_context(|| format!("asking for `{}`", request.uri()))?;
        if answer.status() != StatusCode::OK {
            bail!("`{}` answers {}", request.uri(), answer.status());
        }
        Ok(answer.map(Body::new))
    }

    async fn load(&self, request: &Request<()>) -> Result<Bytes> {
        to_bytes(self.answer(request).await?.into_body(), usize::MAX).await.context("reading a page")
    }

    /// Opens a stream of events as the page of `target` does.
    pub(super) async fn stream(&self, target: &Target, who: &str) -> Result<Body> {
        Ok(self.answer(&self.of_page(&target.events, who)?).await?.into_body())
    }

    /// Milliseconds of `requests` loads of the page, `at_once` at a time, and of as many of its peer in between.
    pub(super) async fn compare(
        &self,
        target: &Target,
        requests: usize,
        at_once: usize,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let ours = self.of_page("/", &target.who)?;
        let peers = Request::get(format!("http://{}/{}", self.peer, target.file)).body(());
        let peers = peers.context("writing a request")?;
        let (mut our_times, mut peers_times) = (Vec::new(), Vec::new());
        // The first turn makes connections and is not counted.
        for turn in 0..=requests.div_ceil(TURN * at_once) {
            for (request, times) in [(&ours, &mut our_times), (&peers, &mut peers_times)] {
                let row = async || {
                    let mut times = Vec::new();
                    for _ in 0..TURN {
                        let began = Instant::now();
                        self.load(request).await?;
                        times.push(began.elapsed().as_secs_f64() * 1000.0);
                    }
                    anyhow::Ok(times)
                };
                let rows = try_join_all((0..at_once).map(|_| row())).await?;
                if turn > 0 {
                    times.extend(rows.into_iter().flatten());
                }
            }
        }
        Ok((our_times, peers_times))
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        process::stop_all(&self.folder, Duration::from_secs(5));
    }
}
