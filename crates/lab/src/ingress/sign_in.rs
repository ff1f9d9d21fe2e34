//! Signing in by picking a person, in oauth2-proxy's place: a cookie says who, and nothing checks it.

use std::sync::Arc;

use axum::Form;
use axum::extract::State;
use axum::http::header::{COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::Ingress;
use super::dashboard::escape;

/// Whom the browser says it is.
const PERSON: &str = "lab-person";

#[derive(Deserialize)]
pub(super) struct Picked {
    person: String,
}

/// The person of the cookie.
pub(super) fn signed_in(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, user)| *name == PERSON && is_user(user)).map(|(_, user)| user.to_owned())
}

/// The people to pick from.
pub(super) fn page(ingress: &Ingress) -> Response {
    let button = |user: &str| {
        let user = escape(user);
        format!("<button name=\"person\" value=\"{user}\">{user}</button>")
    };
    let buttons: Vec<String> = ingress.people.iter().map(|person| button(&person.user)).collect();
    Html(include_str!("sign_in.html").replace("{people}", &buttons.join("\n    "))).into_response()
}

pub(super) async fn sign_in(State(_): State<Arc<Ingress>>, Form(picked): Form<Picked>) -> Response {
    if !is_user(&picked.person) {
        return (StatusCode::BAD_REQUEST, "that is no user id\n").into_response();
    }
    let cookie = format!("{PERSON}={}; Path=/; HttpOnly; SameSite=Lax", picked.person);
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

pub(super) async fn sign_out() -> Response {
    let cookie = format!("{PERSON}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
    ([(SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

/// Whether it can stand in a cookie and in a header as it is.
pub(super) fn is_user(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !";,\"\\".contains(c);
    !text.is_empty() && text.len() <= 200 && text.chars().all(fits)
}
