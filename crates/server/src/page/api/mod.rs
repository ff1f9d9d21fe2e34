//! JSON under `/api/v1`, for programs: the same things as on the pages, by the same functions, with the same refusals.
//! `docs/openapi.yaml` describes it, and a test compares the two.

mod admin;
mod keys;
mod me;
mod notebooks;
mod sessions;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::routes::Routes;
use super::{Page, Refused, Visitor};

/// All of it.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(me::routes())
        .merge(notebooks::routes())
        .merge(keys::routes())
        .merge(sessions::routes())
        .merge(admin::routes())
}

/// Whether what was asked for is done; otherwise it is asked for, and somebody else does it.
#[derive(Debug, Serialize)]
struct Done {
    done: bool,
}

/// A body of JSON, said to be that; what it says besides is refused by its type.
struct Said<T>(T);

impl<T: DeserializeOwned> FromRequest<Arc<Page>> for Said<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, page: &Arc<Page>) -> Result<Self, Refused> {
        let Json(said) = Json::from_request(request, page).await.map_err(|_| Refused::BadForm)?;
        Ok(Self(said))
    }
}
