//! The demo's sign-in: anybody is whom they pick. There is no such page where the ingress says who somebody is.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, State};
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fairlead_model::Person;
use serde::Deserialize;

use super::answer::escaped;
use super::{Frame, show};
use crate::page::routes::Routes;
use crate::page::visitor::DEMO_COOKIE;
use crate::page::{Lang, Page, Refused, Trust};

pub(super) fn routes() -> Routes {
    Routes::new().get("/demo", people).post("/demo", pick)
}

/// How many people are offered; others can be typed.
const OFFERED: usize = 50;

#[derive(Template)]
#[template(path = "demo.html")]
struct Pick {
    frame: Frame,
    people: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Picked {
    person: String,
}

async fn people(State(page): State<Arc<Page>>, frame: Frame) -> Result<Response, Refused> {
    only_in_demo(&page)?;
    let world = page.worlds.borrow().clone();
    let admins = page.settings.admins.iter();
    let people = world.profiles().flat_map(|namespace| world.people_of(namespace).into_keys()).chain(admins);
    let people: BTreeSet<String> = people.map(ToString::to_string).collect();
    show(&Pick { frame, people: people.into_iter().take(OFFERED).collect() })
}

async fn pick(State(page): State<Arc<Page>>, frame: Frame, Form(picked): Form<Picked>) -> Result<Response, Refused> {
    only_in_demo(&page)?;
    let person = Person::parse(picked.person.trim()).map_err(|_| Refused::BadForm)?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    let set = format!("{DEMO_COOKIE}={}; Path={}/; SameSite=Strict; HttpOnly", escaped(person.as_str()), frame.prefix);
    for (name, value) in [(LOCATION, format!("{}/", frame.prefix)), (SET_COOKIE, set)] {
        let value = HeaderValue::from_str(&value).map_err(|_| Refused::BadForm)?;
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn only_in_demo(page: &Page) -> Result<(), Refused> {
    if matches!(page.settings.trust, Trust::Anybody) { Ok(()) } else { Err(Refused::NotFound) }
}
