//! Why a request was refused: one type for pages and JSON. What is not the visitor's and what is not there answer
//! alike.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use fairlead_model::Denied;
use fairlead_model::key::BadKey;
use serde_json::json;

use super::{Lang, Page};
use crate::store::asks::AskRefused;
use crate::store::keys::KeyRefused;

/// A refusal.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not sent by the ingress: somebody inside the cluster asked this port.
    #[error("this page is reached through the dashboard's ingress alone")]
    NotIngress,
    /// The ingress names nobody, several, or somebody who cannot be.
    #[error("the ingress does not say who you are")]
    NoPerson,
    /// Without the token against forged posts, or from another site.
    #[error("this request does not come from the page: load it again and repeat")]
    Csrf,
    /// Not there, or not the visitor's.
    #[error("there is no such thing here, or it is not yours")]
    NotFound,
    /// By the rules of access; only for who has a role in the profile.
    #[error("{}", .0.told())]
    Denied(Denied),
    /// Asked for by another host name than the page's own.
    #[error("this page has a host name of its own, and answers to no other")]
    OtherHost,
    /// Another method.
    #[error("this address takes no such request")]
    Method,
    /// More than a body may have.
    #[error("this is more than one request may have: 256 KiB")]
    TooLarge,
    /// Fields are missing, or are not what they should be.
    #[error("the form's fields are not as the page sends them")]
    BadForm,
    /// Text that is no public key that may be used.
    #[error(transparent)]
    BadKey(#[from] BadKey),
    /// More than one key at once.
    #[error("one key at a time: this text has {0} lines")]
    SeveralKeys(usize),
    /// A date that is none, or is over.
    #[error("a key ends on a day to come, as 2030-01-31")]
    BadDate,
    /// By the rules for keys.
    #[error(transparent)]
    Key(KeyRefused),
    /// The body comes too slowly.
    #[error("this request takes too long to come")]
    Slow,
    /// More event streams than one may have, or than there may be.
    #[error("too many pages are open at once")]
    Streams,
    /// More changes of keys than one may make.
    #[error("ten changes of keys a minute are all one may make")]
    TooFast,
    /// Two searches of the visitor's run already, or many people's.
    #[error("other searches are not done yet")]
    Busy,
    /// More to start and stop than one may wait for.
    #[error("much that you asked for is not done yet")]
    Asks,
    /// Something is away: mostly the database.
    #[error("something is not to be had now: try again in a moment")]
    Broken(#[source] anyhow::Error),
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<KeyRefused> for Refused {
    fn from(refused: KeyRefused) -> Self {
        match refused {
            KeyRefused::Store(error) => Self::Broken(error),
            other => Self::Key(other),
        }
    }
}

impl From<AskRefused> for Refused {
    fn from(refused: AskRefused) -> Self {
        match refused {
            AskRefused::TooMany => Self::Asks,
            AskRefused::Store(error) => Self::Broken(error),
        }
    }
}

impl Refused {
    /// One word: JSON's `code`, and the end of the messages' keys.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::NotIngress => "not-ingress",
            Self::NoPerson => "no-person",
            Self::Csrf => "csrf",
            Self::NotFound => "not-found",
            Self::Denied(denied) => denied.word(),
            Self::OtherHost => "other-host",
            Self::Method => "method",
            Self::TooLarge => "too-large",
            Self::BadForm => "bad-form",
            Self::BadKey(bad) => match bad {
                BadKey::Empty => "key-empty",
                BadKey::Private => "key-private",
                BadKey::Line => "key-line",
                BadKey::Options => "key-options",
                BadKey::Certificate => "key-certificate",
                BadKey::Type(_) => "key-type",
                BadKey::RsaSize(_) => "key-rsa-size",
                BadKey::RsaExponent => "key-rsa-exponent",
                BadKey::Damaged => "key-damaged",
            },
            Self::SeveralKeys(_) => "several-keys",
            Self::BadDate => "bad-date",
            Self::Key(refused) => refused.word(),
            Self::Slow => "slow",
            Self::Streams => "streams",
            Self::TooFast => "too-fast",
            Self::Busy => "busy",
            Self::Asks => "asks",
            Self::Broken(_) => "broken",
        }
    }

    /// The status of HTTP.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::NotIngress | Self::Csrf | Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::NoPerson => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BadForm | Self::BadKey(_) | Self::SeveralKeys(_) | Self::BadDate => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Key(_) => StatusCode::CONFLICT,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooFast | Self::Asks => StatusCode::TOO_MANY_REQUESTS,
            Self::Streams | Self::Busy | Self::Broken(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The sentence for the visitor.
    #[must_use]
    pub fn told(&self, lang: Lang) -> String {
        let count = match self {
            Self::SeveralKeys(count) | Self::BadKey(BadKey::RsaSize(count)) => count.to_string(),
            _ => String::new(),
        };
        lang.say(&format!("refused.{}", self.word()), &[("count", &count)])
    }
}

/// Carries the refusal to [`render`], which knows the language.
impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Renders refusals as JSON under `/api/` and as a page elsewhere.
pub(super) async fn render(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let lang = request.extensions().get::<Lang>().copied().unwrap_or_default();
    let is_api = request.uri().path().starts_with("/api/");
    let is_partial = request.headers().contains_key("hx-request");
    let response = next.run(request).await;
    // Forms that say themselves what is wrong with them.
    let is_page = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let refused = match response.extensions().get::<Arc<Refused>>() {
        Some(refused) => refused.clone(),
        None if is_page => return response,
        // What axum itself refuses.
        None => match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => Arc::new(Refused::Method),
            StatusCode::PAYLOAD_TOO_LARGE => Arc::new(Refused::TooLarge),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Arc::new(Refused::BadForm)
            }
            _ => return response,
        },
    };
    if let Refused::Broken(error) = &*refused {
        tracing::warn!(error = format!("{error:#}"), "a page could not be made");
    }
    let (status, told) = (refused.status(), refused.told(lang));
    if is_api {
        return (status, Json(json!({"error": {"code": refused.word(), "message": told}}))).into_response();
    }
    let html = super::html::refusal(&page, lang, &told, is_partial);
    (status, Html(html)).into_response()
}
