//! A stand-in for what is between a browser and a page inside Kubeflow: Istio's ingress gateway, oauth2-proxy and the
//! Central Dashboard.
//!
//! It copies what a page meets there: the identity header that it alone sets, the address below `/_/`, the frame, and
//! the messages about the namespace. Signing in is picking a person, so whoever reaches it is anybody they like: it
//! answers on loopback alone, and to names of loopback alone, so that no web page elsewhere gets through to it.

mod dashboard;
mod forward;
pub mod kept;
mod sign_in;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

/// What an [`Ingress`] is told.
#[derive(Debug, Clone, Default)]
pub struct IngressSettings {
    /// The value of `x-fairlead-ingress`, by which the page knows the ingress.
    pub secret: String,
    /// Who can be picked, and what each finds in the namespace picker. Others can sign in by name.
    pub people: Vec<Visitor>,
}

/// Somebody who can be picked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// The Kubeflow user id.
    pub user: String,
    /// The namespaces of the picker.
    pub namespaces: Vec<String>,
}

/// The proxy itself.
pub struct Ingress {
    upstream: Authority,
    secret: HeaderValue,
    people: Vec<Visitor>,
    client: forward::Client,
}

impl Ingress {
    /// Serves for ever: `/fairlead/` from `upstream` (`http://HOST:PORT` or `HOST:PORT`), and the dashboard.
    pub async fn serve(listener: TcpListener, upstream: &str, settings: IngressSettings) -> Result<()> {
        let address = listener.local_addr().context("reading the ingress's address")?;
        ensure!(address.ip().is_loopback(), "anybody can sign in as anybody here, so `{address}` must be of loopback");
        let authority = upstream.trim_start_matches("http://").trim_end_matches('/');
        let authority = authority.parse().with_context(|| format!("reading the address `{upstream}`"))?;
        let secret = HeaderValue::from_str(&settings.secret).context("the secret is no header's value")?;
        let ingress = Self { upstream: authority, secret, people: settings.people, client: forward::client() };
        let app = router(Arc::new(ingress)).into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, app).await.context("serving the ingress")
    }

    /// What somebody finds in the namespace picker.
    fn namespaces(&self, user: &str) -> &[String] {
        self.people.iter().find(|person| person.user == user).map_or(&[], |person| &person.namespaces)
    }
}

impl FromStr for Visitor {
    type Err = String;

    /// `USER=NAMESPACE,NAMESPACE`, or `USER`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (user, namespaces) = text.split_once('=').unwrap_or((text, ""));
        if !sign_in::is_user(user) {
            return Err(format!("`{user}` is no user id"));
        }
        let namespaces = namespaces.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Ok(Self { user: user.to_owned(), namespaces })
    }
}

fn router(ingress: Arc<Ingress>) -> Router {
    let text = |kind: &'static str, text: &'static str| get(move || async move { ([(CONTENT_TYPE, kind)], text) });
    Router::new()
        .route("/", get(dashboard::home))
        .route("/_/{*path}", get(dashboard::framed))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", get(sign_in::sign_out))
        .route("/fairlead/", any(forward::forward))
        .route("/fairlead/{*path}", any(forward::forward))
        .route("/api/dashboard-settings", text("application/json", r#"{"DASHBOARD_FORCE_IFRAME": false}"#))
        .route("/dashboard_lib.bundle.js", text("text/javascript", include_str!("ingress/library.js")))
        .route("/kubeflow-palette.css", text("text/css", include_str!("ingress/palette.css")))
        .route("/stand-in.js", text("text/javascript", include_str!("ingress/dashboard.js")))
        .route("/stand-in.css", text("text/css", include_str!("ingress/dashboard.css")))
        .layer(middleware::from_fn(loopback_names))
        .with_state(ingress)
}

/// A name elsewhere that leads to loopback would make this origin one with a stranger's page.
async fn loopback_names(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    let host = host.as_ref().map_or("", Authority::host);
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    if host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "this stand-in answers to names of loopback alone\n").into_response()
    }
}
