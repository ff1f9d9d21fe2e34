//! Who asks, and what a program needs to know to write an `ssh_config`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::{Page, Refused, Routes, Visitor};

pub(super) fn routes() -> Routes {
    Routes::new().get("/api/v1/me", me)
}

#[derive(Debug, Serialize)]
struct Me {
    person: String,
    /// Whether they are an admin of Fairlead.
    admin: bool,
    /// Whether notebooks share the page's origin: then a further key needs an older one's signature.
    shared_origin: bool,
    /// `HOST:PORT`.
    gateway: String,
    /// What every notebook's host name ends in.
    suffix: String,
    /// The lines that this person's `known_hosts` should have.
    known_hosts: Vec<String>,
}

async fn me(State(page): State<Arc<Page>>, visitor: Visitor) -> Result<Json<Me>, Refused> {
    let known_hosts = page.known_hosts_of(&visitor.person).await?;
    Ok(Json(Me {
        person: visitor.person.to_string(),
        admin: visitor.admin,
        shared_origin: page.settings.is_shared_origin(),
        gateway: format!("{}:{}", page.gateway.host(), page.gateway.port()),
        suffix: page.suffix.as_str().to_owned(),
        known_hosts: known_hosts.lines().map(str::to_owned).collect(),
    }))
}
