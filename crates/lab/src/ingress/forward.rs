//! What is below `/fairlead/`: passed on with the headers that only an ingress may set, bodies as they come.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{CONNECTION, HOST, LOCATION};
use axum::http::uri::{PathAndQuery, Scheme, Uri};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::response::{IntoResponse as _, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::{Ingress, sign_in};

pub(super) type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

const USER: HeaderName = HeaderName::from_static("kubeflow-userid");
/// In which oauth2-proxy names groups; nobody here is in one.
const GROUPS: HeaderName = HeaderName::from_static("kubeflow-groups");
const SECRET: HeaderName = HeaderName::from_static("x-fairlead-ingress");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// What belongs to one connection (RFC 9110, section 7.6.1), besides what `Connection` names.
const OF_A_CONNECTION: [&str; 7] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

pub(super) fn client() -> Client {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build_http()
}

pub(super) async fn forward(
    State(ingress): State<Arc<Ingress>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
) -> Response {
    // A found address with 302 and not 307: after signing in, nothing is sent a second time.
    let Some(user) = sign_in::signed_in(request.headers()) else {
        return (StatusCode::FOUND, [(LOCATION, "/")]).into_response();
    };
    let path = request.uri().path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let parts = Uri::builder().scheme(Scheme::HTTP).authority(ingress.upstream.clone()).path_and_query(path).build();
    let (Ok(uri), Ok(user)) = (parts, HeaderValue::from_str(&user)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_11;
    drop_of_connection(request.headers_mut());
    introduce(request.headers_mut(), user, ingress.secret.clone(), peer);
    match ingress.client.request(request).await {
        Ok(mut response) => {
            drop_of_connection(response.headers_mut());
            response.map(Body::new)
        }
        Err(error) => {
            tracing::warn!("`{}` does not answer: {error}", ingress.upstream);
            (StatusCode::SERVICE_UNAVAILABLE, "the page does not answer\n").into_response()
        }
    }
}

/// Says who asks, in words that the client cannot say: what it sent under these names is gone, each of its values.
fn introduce(headers: &mut HeaderMap, user: HeaderValue, secret: HeaderValue, peer: SocketAddr) {
    // `insert` takes all values of the name away.
    headers.insert(USER, user);
    headers.insert(SECRET, secret);
    headers.insert(GROUPS, HeaderValue::from_static(""));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    let host = headers.get(HOST).cloned().unwrap_or(HeaderValue::from_static(""));
    headers.insert(FORWARDED_HOST, host);
    // As Envoy has it: the peer's address behind whatever the client claims.
    let before: Vec<&str> = headers.get_all(&FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let chain = [before.as_slice(), &[&peer.ip().to_string()]].concat().join(",");
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

fn drop_of_connection(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<String> = named.flat_map(|value| value.split(',')).map(|name| name.trim().to_owned()).collect();
    headers.remove(CONNECTION);
    for name in named.iter().map(String::as_str).chain(OF_A_CONNECTION) {
        headers.remove(name);
    }
}
