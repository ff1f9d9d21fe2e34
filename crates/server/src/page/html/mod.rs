//! Pages: handlers that read or ask, and render a template.

mod admin;
mod answer;
mod demo;
mod events;
mod keys;
mod notebooks;
mod said;
mod sessions;

use std::sync::Arc;

use askama::Template;
use axum::extract::FromRequestParts;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::{Html, IntoResponse as _, Response};

pub(super) use self::said::Seal;
use super::csrf::Token;
use super::routes::Routes;
use super::{Lang, Page, Refused, Trust, Visitor, assets};

pub(super) use self::answer::unescaped;

/// What every page needs: who looks at it, in which language, and where things are.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// What every path begins with.
    pub(super) prefix: String,
    pub(super) lang: Lang,
    pub(super) visitor: Visitor,
    /// The token that forms send back.
    pub(super) csrf: String,
    /// The path after the prefix, and its query, for the link that switches the language.
    pub(super) path: String,
    /// Whether that path leads here again, and not to another page than the one that a post was answered with.
    pub(super) is_get: bool,
    /// Whether the dashboard's library is there to be loaded.
    pub(super) in_dashboard: bool,
    /// Where the gateway is.
    pub(super) gateway: String,
    /// Whether anybody is whom they pick.
    pub(super) is_demo: bool,
    /// What every cookie has at its end.
    pub(super) secure: &'static str,
    /// What was done just before, to be said once.
    pub(super) said: String,
    /// What seals the next such word.
    seal: Seal,
}

impl Frame {
    /// A text.
    pub(super) fn text(&self, key: &str) -> &'static str {
        self.lang.text(key)
    }

    /// A text with one value.
    pub(super) fn with(&self, key: &str, name: &str, value: impl std::fmt::Display) -> String {
        self.lang.say(key, &[(name, &value.to_string())])
    }

    /// A text whose key is put together: `state` and a word.
    pub(super) fn text_of(&self, of: &str, word: &str) -> &'static str {
        self.lang.text(&format!("{of}.{word}"))
    }

    /// The pages, each with the key of its name.
    pub(super) fn tabs(&self) -> Vec<(&'static str, &'static str)> {
        let admin = self.visitor.admin.then_some(("/admin", "nav.admin"));
        let all =
            [("/", "nav.notebooks"), ("/setup", "nav.setup"), ("/keys", "nav.keys"), ("/sessions", "nav.sessions")];
        all.into_iter().chain(admin).collect()
    }

    /// Whether this is the page, or one below it.
    pub(super) fn is_at(&self, tab: &str) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        if tab == "/" { path == "/" || path.starts_with("/notebooks") } else { path.starts_with(tab) }
    }

    /// The address of an asset.
    pub(super) fn asset(&self, name: &str) -> String {
        format!("{}/static/{}/{name}", self.prefix, assets::VERSION.as_str())
    }

    /// The address of this page in another language.
    pub(super) fn in_lang(&self, code: &str) -> String {
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let kept = query.split('&').filter(|field| !field.is_empty() && !field.starts_with("lang="));
        let fields: Vec<String> = kept.map(str::to_owned).chain([format!("lang={code}")]).collect();
        format!("{}{path}?{}", self.prefix, fields.join("&"))
    }
}

impl FromRequestParts<Arc<Page>> for Frame {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, page: &Arc<Page>) -> Result<Self, Refused> {
        let missing = || Refused::Broken(anyhow::anyhow!("a handler runs outside of the guards"));
        let visitor = Visitor::from_request_parts(parts, page).await?;
        let token = parts.extensions.get::<Token>().cloned().ok_or_else(missing)?;
        Ok(Self {
            prefix: page.settings.prefix.clone(),
            lang: parts.extensions.get::<Lang>().copied().unwrap_or_default(),
            said: page.seal.open(&visitor.person, &parts.headers).unwrap_or_default(),
            seal: page.seal.clone(),
            visitor,
            csrf: token.0,
            path: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            is_get: parts.method == Method::GET,
            in_dashboard: page.settings.is_shared_origin(),
            gateway: format!("{}:{}", page.gateway.host(), page.gateway.port()),
            is_demo: matches!(page.settings.trust, Trust::Anybody),
            secure: page.settings.secure(),
        })
    }
}

/// A text as HTML: what stands between backticks is code, everything else is text.
fn coded(text: impl std::fmt::Display) -> String {
    let escaped =
        text.to_string().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    let pieces: Vec<&str> = escaped.split('`').collect();
    // An odd backtick is one.
    if pieces.len().is_multiple_of(2) {
        return escaped;
    }
    pieces.iter().enumerate().fold(String::new(), |html, (number, piece)| {
        if number % 2 == 0 { html + piece } else { html + "<code class=\"inline\">" + piece + "</code>" }
    })
}

/// Renders a template.
pub(super) fn show(template: &impl Template) -> Result<Response, Refused> {
    let html = template.render().map_err(|error| Refused::Broken(error.into()))?;
    Ok(Html(html).into_response())
}

/// Every page.
pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(notebooks::routes())
        .merge(events::routes())
        .merge(keys::routes())
        .merge(sessions::routes())
        .merge(admin::routes())
        .merge(demo::routes())
}

/// For addresses that are no page's.
pub(super) async fn not_found() -> Refused {
    Refused::NotFound
}

/// A refusal, for where nothing else can be shown.
#[derive(Template)]
#[template(path = "refusal.html")]
struct Refusal<'a> {
    prefix: &'a str,
    version: &'static str,
    lang: Lang,
    told: &'a str,
}

#[derive(Template)]
#[template(path = "refusal_part.html")]
struct RefusalPart<'a> {
    told: &'a str,
}

/// The page, or the part for a script to put into one, that says why a request was refused.
pub(super) fn refusal(page: &Page, lang: Lang, told: &str, is_part: bool) -> String {
    let prefix = &page.settings.prefix;
    let version = assets::VERSION.as_str();
    let rendered =
        if is_part { RefusalPart { told }.render() } else { Refusal { prefix, version, lang, told }.render() };
    rendered.unwrap_or_else(|_| "this cannot be shown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::coded;

    #[test]
    fn only_backticks_are_more_than_text() {
        for (text, html) in [
            ("a `b` c", "a <code class=\"inline\">b</code> c"),
            ("a ` b", "a ` b"),
            ("`<i>` & \"", "<code class=\"inline\">&lt;i&gt;</code> &amp; &quot;"),
        ] {
            assert_eq!(coded(text), html);
        }
    }
}
