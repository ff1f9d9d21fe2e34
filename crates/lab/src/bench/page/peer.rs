//! The peer of the page's times: the very same bytes, made before, from a process of its own with the same HTTP library.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use tokio::net::TcpListener;

/// Serves every `*.html` of `folder` under its name until it is killed.
pub async fn serve(listen: SocketAddr, folder: &Path) -> Result<()> {
    let mut router = Router::new();
    for entry in folder.read_dir().with_context(|| format!("listing `{}`", folder.display()))? {
        let path = entry.context("listing pages")?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.extension().is_some_and(|end| end == "html") {
            let bytes = Bytes::from(std::fs::read(&path).with_context(|| format!("reading `{}`", path.display()))?);
            let answer = async move || ([(CONTENT_TYPE, "text/html; charset=utf-8")], bytes);
            router = router.route(&format!("/{name}"), get(answer));
        }
    }
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    axum::serve(listener, router).await.context("serving the peer")
}
