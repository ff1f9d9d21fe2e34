//! The visitor's keys, and the steps that set a computer up with one.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Form, Query, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fairlead_model::setup::{Setup, Terminal};
use fairlead_model::{Fingerprint, PublicKey};
use serde::Deserialize;

use super::answer::Answer;
use super::{Frame, show};
use crate::page::keys::{self, KeyView};
use crate::page::plain::is_plain;
use crate::page::routes::Routes;
use crate::page::{Lang, Page, Refused};

pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/keys", list)
        .post("/keys/remove", remove)
        .get("/setup", begin)
        .post("/setup", add)
        .get("/setup/state", state)
        .post("/setup/file", file)
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeyTable {
    frame: Frame,
    keys: Vec<KeyView>,
    shared_origin: bool,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct Begin {
    frame: Frame,
    /// Keys that count already: a block for one of them needs no code.
    keys: Vec<KeyView>,
    windows: bool,
    error: Option<String>,
    text: String,
    shared_origin: bool,
}

#[derive(Template)]
#[template(path = "setup_block.html")]
struct Block {
    frame: Frame,
    shell: String,
    powershell: String,
    windows: bool,
    fingerprint: String,
    code: String,
    state: KeyState,
    shared_origin: bool,
}

/// What a key waits for, as an open page asks again and again.
#[derive(Template)]
#[template(path = "setup_state.html")]
struct KeyState {
    frame: Frame,
    fingerprint: String,
    key: Option<KeyView>,
    /// Whether it waits for an older key, and none counts.
    stuck: bool,
    /// A notebook to try it with.
    example: String,
}

#[derive(Debug, Deserialize)]
struct Chosen {
    #[serde(default)]
    key: String,
}

#[derive(Debug, Deserialize)]
struct New {
    key: String,
    #[serde(default)]
    ends: String,
}

#[derive(Debug, Deserialize)]
struct Which {
    fingerprint: String,
}

#[derive(Debug, Deserialize)]
struct Download {
    fingerprint: String,
    #[serde(default)]
    code: String,
    terminal: String,
}

impl KeyState {
    fn waits(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.state == "waits")
    }

    /// Whether the command for an older computer is to be seen, which stands beside this part.
    fn asks_older(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.needs_older) && !self.stuck
    }
}

impl KeyTable {
    fn is_stuck(&self) -> bool {
        keys::is_stuck(&self.keys)
    }

    fn cuts(&self, key: &KeyView) -> Option<String> {
        let key_of = if key.live_sessions == 1 { "keys.cuts.one" } else { "keys.cuts.many" };
        (key.live_sessions > 0).then(|| self.frame.with(key_of, "count", key.live_sessions))
    }
}

async fn list(State(page): State<Arc<Page>>, frame: Frame) -> Result<Response, Refused> {
    let keys = keys::list(&page, Some(&frame.visitor.person)).await?;
    show(&KeyTable { frame, keys, shared_origin: page.settings.is_shared_origin() })
}

async fn remove(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Form(which): Form<Which>,
) -> Result<Response, Refused> {
    keys::remove(&page, &frame.visitor, &frame.visitor.person, &which.fingerprint).await?;
    let said = frame.with("keys.removed", "name", &which.fingerprint);
    Ok(Answer { frame: &frame, headers: &headers, said }.reload("/keys"))
}

async fn begin(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Query(chosen): Query<Chosen>,
) -> Result<Response, Refused> {
    if !chosen.key.is_empty() {
        let key = own_key(&page, &frame, &chosen.key)?;
        return block(&page, frame, &headers, &key, "").await;
    }
    let keys = keys::list(&page, Some(&frame.visitor.person)).await?;
    let keys = keys.into_iter().filter(|key| key.state == "counts").collect();
    let (windows, shared_origin) = (is_windows(&headers), page.settings.is_shared_origin());
    show(&Begin { frame, keys, windows, error: None, text: String::new(), shared_origin })
}

/// Takes a key. What is wrong with it is said beside the field that it was pasted into.
async fn add(
    State(page): State<Arc<Page>>,
    frame: Frame,
    headers: HeaderMap,
    Form(new): Form<New>,
) -> Result<Response, Refused> {
    match keys::add(&page, &frame.visitor, &new.key, &new.ends).await {
        Ok(added) => block(&page, frame, &headers, &added.key, &added.claim.code).await,
        Err(Refused::Broken(error)) => Err(Refused::Broken(error)),
        Err(refused) => {
            let status = match refused.status() {
                StatusCode::TOO_MANY_REQUESTS => StatusCode::TOO_MANY_REQUESTS,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            let keys = keys::list(&page, Some(&frame.visitor.person)).await?;
            let keys = keys.into_iter().filter(|key| key.state == "counts").collect();
            // A private key is not sent back to be looked at once more.
            let stays = |letter: &char| is_plain(*letter) || *letter == '\n';
            let text = if new.key.contains("PRIVATE") {
                String::new()
            } else {
                new.key.chars().filter(stays).take(2000).collect()
            };
            let error = Some(refused.told(frame.lang));
            let (windows, shared_origin) = (is_windows(&headers), page.settings.is_shared_origin());
            let form = Begin { frame, keys, windows, error, text, shared_origin };
            Ok((status, show(&form)?).into_response())
        }
    }
}

async fn block(
    page: &Page,
    frame: Frame,
    headers: &HeaderMap,
    key: &PublicKey,
    code: &str,
) -> Result<Response, Refused> {
    let fingerprint = key.fingerprint().to_string();
    let known = page.known_hosts_of(&frame.visitor.person).await?;
    let [shell, powershell] =
        [Terminal::Shell, Terminal::PowerShell].map(|terminal| text(page, &known, key, code, terminal));
    let state = look(page, &frame, &fingerprint).await?;
    let (shell, powershell) = (shell?, powershell?);
    let (code, windows, shared_origin) = (code.to_owned(), is_windows(headers), page.settings.is_shared_origin());
    show(&Block { frame, shell, powershell, windows, fingerprint, code, state, shared_origin })
}

fn text(page: &Page, known_hosts: &str, key: &PublicKey, code: &str, terminal: Terminal) -> Result<String, Refused> {
    let code = Some(code).filter(|code| !code.is_empty());
    let setup = Setup { gateway: &page.gateway, suffix: &page.suffix, known_hosts, key, code };
    setup.block(terminal).ok_or(Refused::BadForm)
}

#[derive(Debug, Deserialize)]
struct Asked {
    key: String,
}

async fn state(State(page): State<Arc<Page>>, frame: Frame, Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let fingerprint = Fingerprint::parse(&asked.key).ok_or(Refused::NotFound)?;
    show(&look(&page, &frame, fingerprint.as_str()).await?)
}

async fn look(page: &Page, frame: &Frame, fingerprint: &str) -> Result<KeyState, Refused> {
    let keys = keys::without_sessions(page, &frame.visitor.person).await?;
    let stuck = keys::is_stuck(&keys);
    let key = keys.into_iter().find(|key| key.fingerprint == fingerprint);
    let board = page.board.borrow().clone();
    let example = board.of(&frame.visitor.person, None).find(|(_, role, _, _)| role.opens_shells());
    let example = example.map_or_else(|| "NOTEBOOK.NAMESPACE.notebook".to_owned(), |(_, _, _, row)| row.host.clone());
    Ok(KeyState { frame: frame.clone(), fingerprint: fingerprint.to_owned(), key, stuck, example })
}

async fn file(State(page): State<Arc<Page>>, frame: Frame, Form(form): Form<Download>) -> Result<Response, Refused> {
    let rows = page.store.list_keys(Some(&frame.visitor.person), crate::clock::now()).await?;
    let row = rows.into_iter().find(|row| row.public.fingerprint().as_str() == form.fingerprint);
    let key = row.ok_or(Refused::NotFound)?.public;
    let (terminal, name) = match form.terminal.as_str() {
        "shell" => (Terminal::Shell, "fairlead-setup.sh"),
        "powershell" => (Terminal::PowerShell, "fairlead-setup.ps1"),
        _ => return Err(Refused::BadForm),
    };
    let headers = [
        (CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    let known = page.known_hosts_of(&frame.visitor.person).await?;
    Ok((headers, text(&page, &known, &key, &form.code, terminal)?).into_response())
}

/// A key of the visitor's that counts.
fn own_key(page: &Page, frame: &Frame, fingerprint: &str) -> Result<PublicKey, Refused> {
    let fingerprint = Fingerprint::parse(fingerprint).ok_or(Refused::NotFound)?;
    let world = page.worlds.borrow().clone();
    let mut own = world.keys_of(&frame.visitor.person);
    own.find(|key| *key.fingerprint() == fingerprint).cloned().ok_or(Refused::NotFound)
}

fn is_windows(headers: &HeaderMap) -> bool {
    headers.get(USER_AGENT).is_some_and(|agent| String::from_utf8_lossy(agent.as_bytes()).contains("Windows"))
}
