//! Notebooks as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::{Done, Page, Refused, Routes, Visitor};
use crate::page::notebooks::{self, Chosen, NotebookView, Verb};

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/notebooks", list)
        .get("/api/v1/notebooks/{namespace}/{name}", one)
        .post("/api/v1/notebooks/{namespace}/{name}/{verb}", ask)
}

#[derive(Debug, Deserialize)]
struct Where {
    #[serde(default)]
    ns: Option<String>,
}

#[derive(Debug, Serialize)]
struct List {
    notebooks: Vec<NotebookView>,
}

#[derive(Debug, Serialize)]
struct One {
    #[serde(flatten)]
    notebook: NotebookView,
    /// The fingerprint of its host key; only where the visitor may connect, and once it is known.
    host_key: Option<String>,
}

async fn list(State(page): State<Arc<Page>>, visitor: Visitor, Query(query): Query<Where>) -> Json<List> {
    let board = page.board.borrow().clone();
    Json(List { notebooks: notebooks::list(&board, &visitor.person, &Chosen::read(query.ns.as_deref())) })
}

async fn one(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<One>, Refused> {
    let board = page.board.borrow().clone();
    let notebook = notebooks::one(&board, &visitor.person, &namespace, &name)?;
    let key = if notebook.may_connect { notebooks::host_key(&page, &namespace, &name).await? } else { None };
    Ok(Json(One { notebook, host_key: key.map(|key| key.fingerprint().to_string()) }))
}

async fn ask(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path((namespace, name, verb)): Path<(String, String, String)>,
) -> Result<Json<Done>, Refused> {
    let verb = Verb::from_word(&verb).ok_or(Refused::NotFound)?;
    let done = notebooks::ask(&page, &visitor, verb, &namespace, &name).await?;
    // A restart is two asks, and nobody waits for the second.
    Ok(Json(Done { done: done && verb != Verb::Restart }))
}
