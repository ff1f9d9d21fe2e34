//! The admin's pages.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use fairlead_model::Person;
use serde::Deserialize;

use super::answer::Answer;
use super::{Frame, show};
use crate::page::admin::{self, NamespaceView, Overview, PersonView, SHOWN};
use crate::page::keys::{self, KeyView};
use crate::page::plain::plain;
use crate::page::routes::Routes;
use crate::page::{Lang, Page, Refused, when};

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/admin", overview)
        .get("/admin/namespaces", namespaces)
        .post("/admin/namespaces/{namespace}/{switch}", switch)
        .get("/admin/people", people)
        .get("/admin/keys", all_keys)
        .post("/admin/keys/remove", remove_key)
}

#[derive(Debug, Default, Deserialize)]
struct Search {
    #[serde(default)]
    text: String,
}

#[derive(Template)]
#[template(path = "admin.html")]
struct Overall {
    frame: Frame,
    overview: Overview,
}

#[derive(Template)]
#[template(path = "admin_namespaces.html")]
struct NamespaceTable {
    frame: Frame,
    text: String,
    more: bool,
    namespaces: Vec<NamespaceView>,
}

#[derive(Template)]
#[template(path = "admin_people.html")]
struct PersonTable {
    frame: Frame,
    text: String,
    more: bool,
    people: Vec<PersonView>,
}

#[derive(Template)]
#[template(path = "admin_keys.html")]
struct KeyTable {
    frame: Frame,
    text: String,
    more: bool,
    keys: Vec<KeyView>,
}

/// The pages below `Admin`, each with the key of its name.
const TABS: [(&str, &str); 4] = [
    ("/admin", "admin.overview"),
    ("/admin/namespaces", "admin.switch"),
    ("/admin/people", "admin.people"),
    ("/admin/keys", "admin.keys"),
];

impl Frame {
    fn admin_tabs(&self) -> [(&'static str, &'static str, bool); 4] {
        let path = self.path.split('?').next().unwrap_or_default().to_owned();
        TABS.map(|(tab, key)| (tab, key, tab == path))
    }
}

impl NamespaceTable {
    fn off(&self, view: &NamespaceView) -> Option<String> {
        let (who, since) = (view.off_by.as_deref()?, when::day(view.off_since_ms?));
        Some(self.frame.lang.say("admin.off.by", &[("who", who), ("time", &since)]))
    }
}

/// The first of them, and whether there are more.
fn first<T>(mut all: Vec<T>) -> (Vec<T>, bool) {
    let more = all.len() > SHOWN;
    all.truncate(SHOWN);
    (all, more)
}

async fn overview(State(page): State<Arc<Page>>, frame: Frame) -> Result<Response, Refused> {
    let overview = admin::overview(&page, &frame.visitor).await?;
    show(&Overall { frame, overview })
}

async fn namespaces(
    State(page): State<Arc<Page>>,
    frame: Frame,
    Query(search): Query<Search>,
) -> Result<Response, Refused> {
    let (namespaces, more) = first(admin::namespaces(&page, &frame.visitor, &search.text).await?);
    show(&NamespaceTable { frame, text: plain(&search.text), more, namespaces })
}

async fn switch(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Path((namespace, switch)): Path<(String, String)>,
) -> Result<Response, Refused> {
    admin::only(&frame.visitor)?;
    let on = match switch.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(Refused::NotFound),
    };
    admin::switch(&page, &frame.visitor, &namespace, on).await?;
    let said = frame.with(if on { "admin.switched.on" } else { "admin.switched.off" }, "name", &namespace);
    Ok(Answer { frame: &frame, headers: &headers, said }.reload("/admin/namespaces"))
}

async fn people(
    State(page): State<Arc<Page>>,
    frame: Frame,
    Query(search): Query<Search>,
) -> Result<Response, Refused> {
    let (people, more) = first(admin::people(&page, &frame.visitor, &search.text).await?);
    show(&PersonTable { frame, text: plain(&search.text), more, people })
}

async fn all_keys(
    State(page): State<Arc<Page>>,
    frame: Frame,
    Query(search): Query<Search>,
) -> Result<Response, Refused> {
    let (keys, more) = first(admin::all_keys(&page, &frame.visitor, &search.text).await?);
    show(&KeyTable { frame, text: plain(&search.text), more, keys })
}

#[derive(Debug, Deserialize)]
struct Which {
    person: String,
    fingerprint: String,
}

async fn remove_key(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Form(which): Form<Which>,
) -> Result<Response, Refused> {
    admin::only(&frame.visitor)?;
    let person = Person::parse(&which.person).map_err(|_| Refused::NotFound)?;
    keys::remove(&page, &frame.visitor, &person, &which.fingerprint).await?;
    let said = frame.with("keys.removed", "name", &which.fingerprint);
    Ok(Answer { frame: &frame, headers: &headers, said }.reload("/admin/keys"))
}
