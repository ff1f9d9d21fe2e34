//! Sessions, live and past.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::answer::{Answer, escaped};
use super::{Frame, show};
use crate::clock::now;
use crate::page::plain::plain;
use crate::page::routes::Routes;
use crate::page::sessions::{self, SessionView, Wanted};
use crate::page::{Lang, Page, Refused, when};

pub(super) fn routes() -> Routes {
    Routes::new().get("/sessions", list).get("/sessions.csv", csv).post("/sessions/{id}/end", end)
}

#[derive(Template)]
#[template(path = "sessions.html")]
struct List {
    frame: Frame,
    wanted: Wanted,
    sessions: Vec<SessionView>,
    next: Option<String>,
    now: i64,
}

impl List {
    fn began(session: &SessionView) -> String {
        when::minute(session.began_ms)
    }

    fn lasted(&self, session: &SessionView) -> String {
        when::span(session.ended_ms.unwrap_or(self.now) - session.began_ms)
    }

    fn bytes(session: &SessionView) -> String {
        format!("↑ {} ↓ {}", when::size(session.bytes_up), when::size(session.bytes_down))
    }

    /// The query of these, with another beginning.
    fn query(&self, before: &str) -> String {
        format!("text={}&live={}&before={}", escaped(&self.wanted.text), escaped(&self.wanted.live), escaped(before))
    }
}

async fn list(State(page): State<Arc<Page>>, frame: Frame, Query(wanted): Query<Wanted>) -> Result<Response, Refused> {
    let found = sessions::list(&page, &frame.visitor, &wanted).await?;
    let wanted = Wanted { text: plain(&wanted.text), ..wanted };
    show(&List { frame, wanted, sessions: found.sessions, next: found.next, now: now().0 })
}

async fn csv(State(page): State<Arc<Page>>, frame: Frame, Query(wanted): Query<Wanted>) -> Result<Response, Refused> {
    let file = sessions::csv(&page, &frame.visitor, &wanted).await?;
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8"),
        (CONTENT_DISPOSITION, "attachment; filename=\"fairlead-sessions.csv\""),
    ];
    Ok((headers, file).into_response())
}

async fn end(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Refused> {
    sessions::end(&page, &frame.visitor, &id).await?;
    let said = frame.text("sessions.ending").to_owned();
    Ok(Answer { frame: &frame, headers: &headers, said }.back("/sessions"))
}
