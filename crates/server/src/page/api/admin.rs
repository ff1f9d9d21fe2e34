//! What admins see and switch, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use fairlead_model::Person;
use serde::{Deserialize, Serialize};

use super::keys::List;
use super::{Done, Page, Refused, Routes, Said, Visitor};
use crate::page::admin::{self, NamespaceView, Overview, PersonView};
use crate::page::keys;

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/api/v1/admin/overview", overview)
        .get("/api/v1/admin/namespaces", namespaces)
        .put("/api/v1/admin/namespaces/{namespace}/ssh", switch)
        .get("/api/v1/admin/people", people)
        .get("/api/v1/admin/keys", all_keys)
        .delete("/api/v1/admin/keys/{person}/{fingerprint}", remove_key)
}

#[derive(Debug, Deserialize)]
struct Search {
    #[serde(default)]
    text: String,
}

#[derive(Debug, Serialize)]
struct Namespaces {
    namespaces: Vec<NamespaceView>,
}

#[derive(Debug, Serialize)]
struct People {
    people: Vec<PersonView>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    on: bool,
}

async fn overview(State(page): State<Arc<Page>>, visitor: Visitor) -> Result<Json<Overview>, Refused> {
    Ok(Json(admin::overview(&page, &visitor).await?))
}

async fn namespaces(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Json<Namespaces>, Refused> {
    Ok(Json(Namespaces { namespaces: admin::namespaces(&page, &visitor, &search.text).await? }))
}

async fn switch(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path(namespace): Path<String>,
    Said(switch): Said<Switch>,
) -> Result<Json<Done>, Refused> {
    admin::switch(&page, &visitor, &namespace, switch.on).await?;
    Ok(Json(Done { done: true }))
}

async fn people(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Json<People>, Refused> {
    Ok(Json(People { people: admin::people(&page, &visitor, &search.text).await? }))
}

async fn all_keys(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Query(search): Query<Search>,
) -> Result<Json<List>, Refused> {
    Ok(Json(List { keys: admin::all_keys(&page, &visitor, &search.text).await? }))
}

async fn remove_key(
    State(page): State<Arc<Page>>,
    visitor: Visitor,
    Path((person, fingerprint)): Path<(String, String)>,
) -> Result<Json<Done>, Refused> {
    admin::only(&visitor)?;
    let person = Person::parse(&person).map_err(|_| Refused::NotFound)?;
    keys::remove(&page, &visitor, &person, &fingerprint).await?;
    Ok(Json(Done { done: true }))
}
