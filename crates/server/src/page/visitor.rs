//! Who a visitor is. The ingress says so in a header, which counts beside the ingress's secret alone: whoever reaches
//! this port from inside the cluster can send the header too (kubeflow/kubeflow #6228).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use axum::middleware::Next;
use axum::response::Response;
use fairlead_model::Person;

use super::plain::is_plain;
use super::settings::INGRESS_HEADER;
use super::{Page, Refused, Trust};

/// The cookie of the demo, in which anybody may write any name.
pub(super) const DEMO_COOKIE: &str = "fairlead-demo-person";

/// Somebody who looks at the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visitor {
    /// Who.
    pub person: Person,
    /// Whether the settings name them as an admin of Fairlead; nothing in a profile by that.
    pub admin: bool,
    /// From where, as the ingress says it; for the audit trail alone.
    pub from: Option<IpAddr>,
}

impl<S: Sync> FromRequestParts<S> for Visitor {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let missing = || Refused::Broken(anyhow::anyhow!("a handler runs outside of the guards"));
        parts.extensions.get::<Self>().cloned().ok_or_else(missing)
    }
}

/// Puts the [`Visitor`] into the request, or refuses it.
pub(super) async fn recognise(
    State(page): State<Arc<Page>>,
    mut request: Request,
    next: Next,
) -> Result<Response, Refused> {
    // What holds for a host name of its own holds by that name alone.
    if page.settings.host.as_ref().is_some_and(|host| !is_asked_for(request.headers(), host)) {
        return Err(Refused::OtherHost);
    }
    let person = match &page.settings.trust {
        Trust::Ingress { header, prefix, secret } => {
            let proof = only(request.headers(), &HeaderName::from_static(INGRESS_HEADER));
            if !proof.is_some_and(|proof| secret.is(proof)) {
                return Err(Refused::NotIngress);
            }
            named(request.headers(), header, prefix)?
        }
        Trust::Anybody => {
            if !is_loopback(request.headers()) {
                return Err(Refused::NotIngress);
            }
            let cookie = super::csrf::cookie(request.headers(), DEMO_COOKIE);
            let name =
                cookie.and_then(|name| super::html::unescaped(&name)).unwrap_or_else(|| "demo@example.com".to_owned());
            Person::parse(&name).map_err(|_| Refused::NoPerson)?
        }
    };
    let in_group = page.settings.admin_group.as_ref().is_some_and(|(header, group)| {
        let named = only(request.headers(), header).and_then(|value| std::str::from_utf8(value).ok());
        named.is_some_and(|named| named.split(',').any(|one| one.trim() == group))
    });
    let from = peer(request.headers());
    let admin = page.settings.has_admins() && (in_group || page.settings.admins.contains(&person));
    request.extensions_mut().insert(Visitor { person, admin, from });
    Ok(next.run(request).await)
}

/// The address that the ingress itself saw: it writes that behind whatever the client claims.
fn peer(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

/// The person whom the header names. Two headers are none: ingress and page might each believe another one.
fn named(headers: &HeaderMap, header: &HeaderName, prefix: &str) -> Result<Person, Refused> {
    let value = only(headers, header).ok_or(Refused::NoPerson)?;
    let name = std::str::from_utf8(value).ok().and_then(|name| name.strip_prefix(prefix)).ok_or(Refused::NoPerson)?;
    if !name.chars().all(is_plain) {
        return Err(Refused::NoPerson);
    }
    Person::parse(name).map_err(|_| Refused::NoPerson)
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

/// Whether the browser asked for this host name, by whatever port.
fn is_asked_for(headers: &HeaderMap, host: &str) -> bool {
    let asked = only(headers, &HOST).and_then(|asked| std::str::from_utf8(asked).ok()?.parse::<Uri>().ok());
    asked.is_some_and(|asked| asked.host().is_some_and(|asked| asked.eq_ignore_ascii_case(host)))
}

/// Whether the browser asked for this machine by name: else any page out there could lead it here.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = only(headers, &HOST).and_then(|host| std::str::from_utf8(host).ok());
    let Some(uri) = host.and_then(|host| host.parse::<Uri>().ok()) else { return false };
    matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}
