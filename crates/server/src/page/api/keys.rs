//! The visitor's keys as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::{Done, Page, Refused, Routes, Said, Visitor};
use crate::page::keys::{self, KeyView};
use crate::store::keys::Needs;

pub(super) fn routes() -> Routes {
    Routes::new().get("/api/v1/keys", list).post("/api/v1/keys", add).delete("/api/v1/keys/{fingerprint}", remove)
}

/// Keys, oldest first.
#[derive(Debug, Serialize)]
pub(super) struct List {
    pub(super) keys: Vec<KeyView>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    /// A line of a `.pub` file.
    key: String,
    /// The last day on which it counts, `2030-01-31`; empty for no end.
    #[serde(default)]
    ends: String,
}

#[derive(Debug, Serialize)]
struct Added {
    fingerprint: String,
    /// What to give `ssh fairlead-gateway confirm`.
    code: String,
    /// Until when, in Unix milliseconds.
    expires_ms: i64,
    needs: Needs,
}

async fn list(State(page): State<Arc<Page>>, visitor: Visitor) -> Result<Json<List>, Refused> {
    Ok(Json(List { keys: keys::list(&page, Some(&visitor.person)).await? }))
}

async fn add(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Said(new): Said<New>,
) -> Result<(StatusCode, Json<Added>), Refused> {
    let keys::Added { key, claim } = keys::add(&page, &visitor, &new.key, &new.ends).await?;
    let fingerprint = key.fingerprint().to_string();
    let added = Added { fingerprint, code: claim.code, expires_ms: claim.expires.0, needs: claim.needs };
    Ok((StatusCode::CREATED, Json(added)))
}

async fn remove(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path(fingerprint): Path<String>,
) -> Result<Json<Done>, Refused> {
    keys::remove(&page, &visitor, &visitor.person, &fingerprint).await?;
    Ok(Json(Done { done: true }))
}
