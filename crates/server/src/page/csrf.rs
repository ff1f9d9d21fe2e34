//! Guards against posts that another site makes in a visitor's name, as Kubeflow's own apps do it: a cookie that no
//! other site can read, said again in a header, or in a form's field where there is no script.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, ORIGIN, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::timeout;

use super::{BODY_LIMIT, Page, Refused};
use crate::random;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kubeflow's name for it.
const COOKIE_NAME: &str = "XSRF-TOKEN";
/// At a host name of its own: another host of the same domain, as the dashboard's with its notebooks, cannot set a cookie
/// of this name, and so cannot make a second one that keeps every form from working (RFC 6265bis, section 4.1.3.2).
const OWN_COOKIE_NAME: &str = "__Host-XSRF-TOKEN";
/// Kubeflow's name for the header.
const HEADER_NAME: &str = "x-xsrf-token";
/// The field of forms.
pub(super) const FIELD: &str = "_csrf";

/// The visitor's token, for forms.
#[derive(Debug, Clone)]
pub(super) struct Token(pub(super) String);

/// Refuses what changes something without the token, and gives one to who has none.
pub(super) async fn check(
    State(page): State<Arc<Page>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    let settings = &page.settings;
    let own = settings.host.is_some() && settings.prefix.is_empty() && !settings.insecure_cookies;
    let name = if own { OWN_COOKIE_NAME } else { COOKIE_NAME };
    let held = cookie(request.headers(), name).filter(|token| is_token(token));
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        if is_cross_site(request.headers()) {
            return Err(Refused::Csrf);
        }
        let (parts, body) = request.into_parts();
        // All of it, before anything begins: a body that drips keeps nothing else waiting.
        let read = timeout(PATIENCE, to_bytes(body, BODY_LIMIT)).await.map_err(|_| Refused::Slow)?;
        let body = read.map_err(|_| Refused::TooLarge)?;
        let said = said(&parts.headers, &body)?;
        request = Request::from_parts(parts, Body::from(body));
        if held.is_none() || held != said {
            return Err(Refused::Csrf);
        }
    }
    let token = match &held {
        Some(token) => token.clone(),
        None => random::id().map_err(Refused::Broken)?,
    };
    request.extensions_mut().insert(Token(token.clone()));
    let mut response = next.run(request).await;
    if held.is_none() {
        let set = format!("{name}={token}; Path={}/; SameSite=Strict{}", settings.prefix, settings.secure());
        if let Ok(set) = HeaderValue::from_str(&set) {
            response.headers_mut().append(SET_COOKIE, set);
        }
    }
    Ok(response)
}

/// The token as the header says it, or a form's field.
fn said(headers: &HeaderMap, body: &[u8]) -> Result<Option<String>, Refused> {
    if let Some(header) = headers.get(HEADER_NAME) {
        return Ok(header.to_str().ok().map(str::to_owned));
    }
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes().to_ascii_lowercase());
    if !kind.is_some_and(|kind| kind.starts_with(b"application/x-www-form-urlencoded")) {
        return Ok(None);
    }
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(body).map_err(|_| Refused::BadForm)?;
    Ok(fields.into_iter().find(|(name, _)| name == FIELD).map(|(_, value)| value))
}

/// Whether the browser itself says that another site sent this.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match says("sec-fetch-site") {
        Some(site) => !matches!(site, "same-origin" | "none"),
        // An older browser: where it says the origin, that has to be ours.
        None => match (says(ORIGIN.as_str()), says("host")) {
            (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, from)| from != host),
            _ => false,
        },
    }
}

/// A cookie's value; none where several have the name.
pub(super) fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut values = lines.flat_map(cookie::Cookie::split_parse).flatten().filter(|cookie| cookie.name() == name);
    let value = values.next()?.value().to_owned();
    values.next().is_none().then_some(value)
}

fn is_token(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
