//! The Central Dashboard as an app meets it: a menu, a namespace picker, and the app in a frame.

use std::sync::Arc;

use axum::extract::{RawQuery, Request, State};
use axum::http::HeaderMap;
use axum::response::{Html, IntoResponse, Redirect, Response};

use super::{Ingress, sign_in};

/// `/`: the people to pick from, or the dashboard without an app.
pub(super) async fn home(
    State(ingress): State<Arc<Ingress>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(user) = sign_in::signed_in(&headers) else { return sign_in::page(&ingress) };
    let hello = "<div class=\"home\"><h1>Dashboard (stand-in)</h1>\n  \
                 <p>This stands in for Kubeflow's Central Dashboard, for Fairlead's demo and tests.</p></div>";
    page(&ingress, &user, query.as_deref().unwrap_or_default(), hello)
}

/// `/_/fairlead/…`: the dashboard around `/fairlead/…`, with the same query and a namespace in it.
pub(super) async fn framed(State(ingress): State<Arc<Ingress>>, request: Request) -> Response {
    let Some(user) = sign_in::signed_in(request.headers()) else { return Redirect::to("/").into_response() };
    let path = request.uri().path().trim_start_matches("/_");
    if !path.starts_with("/fairlead/") {
        return Redirect::to("/").into_response();
    }
    let query = request.uri().query().unwrap_or_default();
    let named = query.split('&').any(|pair| pair.starts_with("ns="));
    let first = ingress.namespaces(&user).first().filter(|_| !named).map(|name| format!("ns={name}"));
    let query = [query, first.as_deref().unwrap_or_default()].into_iter().filter(|part| !part.is_empty());
    let query = query.collect::<Vec<_>>().join("&");
    let frame = format!("<iframe title=\"Notebooks SSH\" src=\"{}\"></iframe>", escape(&format!("{path}?{query}")));
    page(&ingress, &user, &query, &frame)
}

fn page(ingress: &Ingress, user: &str, query: &str, content: &str) -> Response {
    let chosen = query.split('&').find_map(|pair| pair.strip_prefix("ns="));
    let option = |name: &String| {
        let selected = if chosen == Some(name) { " selected" } else { "" };
        format!("<option value=\"{0}\"{selected}>{0}</option>", escape(name))
    };
    let options: Vec<String> = ingress.namespaces(user).iter().map(option).collect();
    let html = include_str!("dashboard.html").replace("{namespaces}", &options.join("\n        "));
    // The content last: what it has of the address is not looked at for further places.
    Html(html.replace("{user}", &escape(user)).replace("{content}", content)).into_response()
}

/// Text in HTML, also between quotes.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}
