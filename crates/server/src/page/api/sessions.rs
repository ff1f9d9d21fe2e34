//! Sessions as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::{Done, Page, Refused, Routes, Visitor};
use crate::page::sessions::{self, Sessions, Wanted};

pub(super) fn routes() -> Routes {
    Routes::new().get("/api/v1/sessions", list).post("/api/v1/sessions/{id}/end", end)
}

#[derive(Debug, Deserialize)]
struct Which {
    #[serde(default)]
    text: String,
    #[serde(default)]
    live: bool,
    #[serde(default)]
    before: String,
}

async fn list(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Query(which): Query<Which>,
) -> Result<Json<Sessions>, Refused> {
    let live = if which.live { "1".to_owned() } else { String::new() };
    let wanted = Wanted { text: which.text, live, before: which.before };
    Ok(Json(sessions::list(&page, &visitor, &wanted).await?))
}

/// Its gateway ends it, within a second mostly.
async fn end(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Done>), Refused> {
    sessions::end(&page, &visitor, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(Done { done: false })))
}
