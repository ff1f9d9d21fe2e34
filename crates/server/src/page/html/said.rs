//! The word of what was done, in a cookie over a redirect. It is sealed, for the one it is said to: other pages of the
//! same domain can set cookies for this one, and would otherwise have it say what they like.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign, verify};
use axum::http::HeaderMap;
use fairlead_model::Person;

use super::answer::{escaped, unescaped};
use crate::page::{Trust, csrf};
use crate::random;

/// The cookie.
pub(super) const COOKIE: &str = "fairlead-said";

/// What seals it; without a key nothing is said.
#[derive(Debug, Clone)]
pub(in crate::page) struct Seal(Option<Key>);

impl Seal {
    /// By the ingress's secret, so that all replicas have the same one.
    pub(in crate::page) fn new(trust: &Trust) -> Self {
        let secret = match trust {
            Trust::Ingress { secret, .. } => Some(secret.derive("the page's word")),
            Trust::Anybody => random::bytes::<32>().ok().map(Vec::from),
        };
        Self(secret.map(|secret| Key::new(HMAC_SHA256, &secret)))
    }

    /// The cookie's value.
    pub(super) fn close(&self, person: &Person, said: &str) -> String {
        let Some(key) = &self.0 else { return String::new() };
        let tag = sign(key, &text(person, said));
        format!("{}.{}", random::hex(tag.as_ref()), escaped(said))
    }

    /// What a request's cookie says; nothing where nobody here wrote it to this person.
    pub(super) fn open(&self, person: &Person, headers: &HeaderMap) -> Option<String> {
        let cookie = csrf::cookie(headers, COOKIE)?;
        let (tag, said) = cookie.split_once('.')?;
        let said = unescaped(said)?;
        let tag = bytes(tag)?;
        verify(self.0.as_ref()?, &text(person, &said), &tag).ok()?;
        Some(said)
    }
}

/// A person has no NUL.
fn text(person: &Person, said: &str) -> Vec<u8> {
    format!("{person}\0{said}").into_bytes()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    digits.collect()
}
