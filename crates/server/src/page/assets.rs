//! Stylesheet, scripts and fonts, in the program itself, under an address that changes with them.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::Refused;
use super::routes::Routes;
use crate::random;

/// Name, type and contents.
const ALL: [(&str, &str, &[u8]); 6] = [
    ("fairlead.css", "text/css; charset=utf-8", include_bytes!("../../assets/fairlead.css")),
    ("fairlead.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/fairlead.js")),
    ("icon.svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
    ("htmx.min.js", "text/javascript; charset=utf-8", include_bytes!("../../assets/vendor/htmx.min.js")),
    (
        "roboto-latin-400-normal.woff2",
        "font/woff2",
        include_bytes!("../../assets/vendor/roboto-latin-400-normal.woff2"),
    ),
    (
        "roboto-latin-500-normal.woff2",
        "font/woff2",
        include_bytes!("../../assets/vendor/roboto-latin-500-normal.woff2"),
    ),
];

/// A part of every asset's address: another one whenever one of them changes.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: Vec<u8> = ALL.iter().flat_map(|(_, _, bytes)| bytes.iter().copied()).collect();
    random::hex(&digest(&SHA256, &all).as_ref()[..6])
});

/// `/static/VERSION/NAME`. They say nothing about anybody, so nobody has to say who they are.
pub(super) fn routes() -> Routes {
    Routes::new().get("/static/{version}/{name}", asset)
}

async fn asset(Path((version, name)): Path<(String, String)>) -> Result<Response, Refused> {
    // Another version would be kept for a year as this one: during an update both are there.
    if version != *VERSION {
        return Err(Refused::NotFound);
    }
    let (_, kind, bytes) = ALL.iter().find(|(other, _, _)| *other == name).ok_or(Refused::NotFound)?;
    let headers = [(CONTENT_TYPE, *kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, *bytes).into_response())
}
