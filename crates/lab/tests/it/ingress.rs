//! The stand-in for Kubeflow's ingress before a real upstream, with curl as the browser.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, Redirect};
use axum::routing::{any, get};
use fairlead_lab::ingress::{Ingress, IngressSettings, Visitor, kept};
use fairlead_lab::process::Process;
use fairlead_lab::secret;
use futures::StreamExt as _;
use futures::channel::mpsc;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::harness::{Connection, curl};

const SECRET: &str = "a secret of 32 characters at least";
const ALICE: [&str; 2] = ["-b", "lab-person=alice@example.com"];

/// A state folder whose ingress ends with the test, also with one that fails.
struct Folder(TempDir);

impl Drop for Folder {
    fn drop(&mut self) {
        kept::end(self.0.path());
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// The ingress before an upstream; its address without a slash.
async fn ingress(upstream: Router) -> String {
    let behind = listener().await;
    let address = behind.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(behind, upstream).await });
    before(&format!("http://{address}")).await
}

async fn before(upstream: &str) -> String {
    let front = listener().await;
    let address = front.local_addr().unwrap();
    let people = vec!["alice@example.com=team-a,team-b".parse().unwrap()];
    let (settings, upstream) = (IngressSettings { secret: SECRET.to_owned(), people }, upstream.to_owned());
    tokio::spawn(async move { Ingress::serve(front, &upstream, settings).await });
    format!("http://{address}")
}

async fn asks(arguments: &[&str]) -> String {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let asking = move || curl(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    tokio::task::spawn_blocking(asking).await.unwrap()
}

/// Says which headers arrived, a line each, and the path.
async fn headers(request: Request) -> String {
    let lines = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    lines.chain([format!("path: {}", request.uri())]).collect::<Vec<_>>().join("\n") + "\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_cannot_say_who_it_is_nor_that_it_is_the_ingress() {
    let url = ingress(Router::new().fallback(headers)).await;
    let forged = ["kubeflow-userid: root@example.com", "KubeFlow-UserID: mallory@example.com", "kubeflow-userid:eve"];
    let secrets = ["x-fairlead-ingress: guess", "X-Fairlead-Ingress: another"];
    let more = ["x-forwarded-proto: https", "X-Forwarded-Host: evil.example.com", "Connection: x-hop", "x-hop: 1"];
    let mut arguments = ALICE.to_vec();
    forged.iter().chain(&secrets).chain(&more).for_each(|header| arguments.extend(["-H", header]));
    let page = format!("{url}/fairlead/api/x%2F?ns=a&b=%20");
    arguments.push(&page);
    let said = asks(&arguments).await;
    let values = |name: &str| -> Vec<String> {
        let name = format!("{name}: ");
        said.lines().filter_map(|line| line.strip_prefix(&name)).map(str::to_owned).collect()
    };
    let host = url.trim_start_matches("http://");
    assert_eq!(values("kubeflow-userid"), ["alice@example.com"], "{said}");
    assert_eq!(values("x-fairlead-ingress"), [SECRET], "{said}");
    assert_eq!(values("x-forwarded-proto"), ["http"]);
    assert_eq!(values("x-forwarded-host"), [host]);
    assert_eq!(values("host"), [host]);
    assert_eq!(values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values("x-hop"), [""; 0]);
    assert_eq!(values("path"), ["/fairlead/api/x%2F?ns=a&b=%20"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_through_without_signing_in() {
    let url = ingress(Router::new().fallback(headers)).await;
    for forged in
        ["x-nothing: here", "kubeflow-userid: alice@example.com", "cookie: lab-person=", "cookie: lab-person=a b"]
    {
        for path in ["/fairlead/", "/fairlead/api/v1/keys", "/_/fairlead/"] {
            let said = asks(&["-H", forged, &format!("{url}{path}")]).await;
            assert!(said.contains("location: /\r\n"), "{forged}: {said}");
            assert!(said.starts_with("HTTP/1.1 30") && !said.contains("path: "), "{forged}: {said}");
        }
    }
    assert!(asks(&[&format!("{url}/")]).await.contains("value=\"alice@example.com\""));
    let signed_in = asks(&["-d", "person=bob@example.com", &format!("{url}/sign-in")]).await;
    assert!(
        signed_in.contains("set-cookie: lab-person=bob@example.com; Path=/; HttpOnly; SameSite=Lax"),
        "{signed_in}"
    );
    for bad in ["person=", "person=a%0d%0ax-evil: 1", "person=a;b", "person=%E7%AC%94"] {
        let said = asks(&["-d", bad, &format!("{url}/sign-in")]).await;
        assert!(said.starts_with("HTTP/1.1 400") && !said.contains("set-cookie"), "{bad}: {said}");
    }
    assert!(asks(&[&format!("{url}/sign-out")]).await.contains("set-cookie: lab-person=; "));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_on_loopback_and_to_names_of_loopback_alone() {
    let url = ingress(Router::new().fallback(headers)).await;
    let page = format!("{url}/fairlead/");
    for (host, answer) in [
        ("rebound.example.com", "403"),
        ("127.0.0.1.example.com", "403"),
        ("10.0.0.1", "403"),
        ("localhost.example.com", "403"),
        ("localhost:8080", "200"),
        ("demo.localhost", "200"),
        ("127.0.0.1", "200"),
        ("[::1]:80", "200"),
    ] {
        let said = asks(&[ALICE.as_slice(), &["-H", &format!("Host: {host}"), &page]].concat()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {answer}")), "{host}: {said}");
    }
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let serving = Ingress::serve(open, "127.0.0.1:9", IngressSettings::default());
    let refused = tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap_err();
    assert!(refused.to_string().contains("must be of loopback"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_while_the_answer_goes_on() {
    let (sender, receiver) = mpsc::unbounded::<Result<Bytes, Infallible>>();
    let body = Arc::new(Mutex::new(Some(receiver)));
    let events = move || {
        let receiver = body.lock().unwrap().take().unwrap();
        async move { ([("content-type", "text/event-stream")], Body::from_stream(receiver)) }
    };
    let url = ingress(Router::new().route("/fairlead/events", get(events))).await;
    let mut command = Command::new("curl");
    command.args(["-sSN", "--max-time", "60"]).args(ALICE).arg(format!("{url}/fairlead/events"));
    let mut client = Connection(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(client.0.stdout.take().unwrap()).lines();
    // Each is read before the next is sent.
    for event in ["data: one", "data: two", "data: three"] {
        sender.unbounded_send(Ok(Bytes::from(format!("{event}\n")))).unwrap();
        let (line, rest) = tokio::task::spawn_blocking(move || (lines.next(), lines)).await.unwrap();
        assert_eq!(line.unwrap().unwrap(), event);
        lines = rest;
    }
    // The upstream learns that the browser went.
    drop(client);
    let gone = async {
        while sender.unbounded_send(Ok(Bytes::from_static(b": heartbeat\n"))).is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the stream of a client that went is dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_redirects_cookies_and_errors_pass_through() {
    let cookies = async || AppendHeaders([("set-cookie", "a=1; Path=/fairlead"), ("set-cookie", "b=2")]);
    let echo = async |headers: HeaderMap, body: Body| {
        let mut stream = body.into_data_stream();
        let mut length = 0;
        while let Some(Ok(part)) = stream.next().await {
            length += part.len();
        }
        (StatusCode::IM_A_TEAPOT, format!("{length} {:?}", headers.get("x-xsrf-token")))
    };
    let app = Router::new()
        .route("/fairlead/cookies", get(cookies))
        .route("/fairlead/move", get(async || Redirect::to("/fairlead/there?x=1")))
        .route("/fairlead/echo", any(echo));
    let url = ingress(app).await;
    let ask = async |path: &str, more: &[&str]| asks(&[&ALICE, more, &[&format!("{url}{path}")]].concat()).await;
    let said = ask("/fairlead/cookies", &[]).await;
    assert!(said.contains("set-cookie: a=1; Path=/fairlead\r\n") && said.contains("set-cookie: b=2\r\n"), "{said}");
    let said = ask("/fairlead/move", &[]).await;
    assert!(said.starts_with("HTTP/1.1 303") && said.contains("location: /fairlead/there?x=1\r\n"), "{said}");
    let large = "x".repeat(100_000);
    let said = ask("/fairlead/echo", &["-X", "PUT", "-H", "X-XSRF-TOKEN: t", "-d", &large]).await;
    assert!(said.contains("HTTP/1.1 418") && said.contains("100000 Some(\"t\")"), "{said}");

    let url = before("127.0.0.1:9").await;
    let said = asks(&[ALICE.as_slice(), &[&format!("{url}/fairlead/")]].concat()).await;
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_frames_the_page_with_a_namespace() {
    let url = ingress(Router::new().fallback(headers)).await;
    let ask = async |path: &str| asks(&[ALICE.as_slice(), &["-g", &format!("{url}{path}")]].concat()).await;
    assert!(ask("/").await.contains("<a id=\"fairlead\" href=\"/_/fairlead/\">Notebooks SSH</a>"));
    for (path, source) in [
        ("/_/fairlead/", "/fairlead/?ns=team-a"),
        ("/_/fairlead/keys?ns=team-b", "/fairlead/keys?ns=team-b"),
        ("/_/fairlead/?ns=%22%3E%3Cscript%3E", "/fairlead/?ns=%22%3E%3Cscript%3E"),
        ("/_/fairlead/?q='{user}&ns=", "/fairlead/?q=&#39;{user}&amp;ns="),
    ] {
        let said = ask(path).await;
        assert!(said.contains(&format!(" src=\"{source}\"")), "{path}: {said}");
    }
    assert!(ask("/_/elsewhere/").await.contains("location: /\r\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn as_a_program_it_starts_again_only_when_told_something_else() {
    let dir = Folder(tempfile::tempdir().unwrap());
    let program = PathBuf::from(env!("CARGO_BIN_EXE_fairlead-lab"));
    let file = dir.0.path().join("secret");
    secret::ensure(&file).unwrap();
    let people: Vec<Visitor> = vec!["alice@example.com=team-a".parse().unwrap()];
    let ensure = |people: &[Visitor]| -> (SocketAddr, Process) {
        let address = kept::ensure(dir.0.path(), &program, "127.0.0.1:9", &file, people).unwrap();
        (address, kept::process(dir.0.path()).unwrap())
    };
    let (address, first) = ensure(&people);
    let said = curl(&[&format!("http://{address}/")]).ok();
    assert!(said.contains("alice@example.com"), "{said}");
    let (again, same) = ensure(&people);
    assert_eq!((again, same.pid), (address, first.pid));

    // Another person, another secret, and after it died: a new one at the old address.
    let more: Vec<Visitor> = [people.clone(), vec!["bob@example.com".parse().unwrap()]].concat();
    let (again, second) = ensure(&more);
    assert!(again == address && second.pid != first.pid && !first.alive());
    secret::write(&file, &"0".repeat(64)).unwrap();
    let (again, third) = ensure(&more);
    assert!(again == address && third.pid != second.pid && !second.alive());
    kept::end(dir.0.path());
    assert!(!third.alive());
    let (again, fourth) = ensure(&more);
    assert!(again == address && fourth.alive());
    kept::end(dir.0.path());
    assert!(!fourth.alive());
}
