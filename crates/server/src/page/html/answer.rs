//! What a post is answered with: back to the page it came from, with a word of what was done.

use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::Frame;
use super::said::COOKIE;

/// An answer.
pub(super) struct Answer<'a> {
    pub(super) frame: &'a Frame,
    pub(super) headers: &'a HeaderMap,
    /// What was done.
    pub(super) said: String,
}

impl Answer<'_> {
    /// Sends a form back to `path`; a script stays where it is, and says the word.
    pub(super) fn back(self, path: &str) -> Response {
        if !self.headers.contains_key("hx-request") {
            return self.redirect(path);
        }
        let trigger = ascii(&json!({"said": {"value": self.said}}).to_string());
        let mut response = StatusCode::NO_CONTENT.into_response();
        if let Ok(trigger) = HeaderValue::from_str(&trigger) {
            response.headers_mut().insert(HeaderName::from_static("hx-trigger"), trigger);
        }
        response
    }

    /// The same for forms whose page changes by what was done: a script loads it again, too.
    pub(super) fn reload(self, path: &str) -> Response {
        if !self.headers.contains_key("hx-request") {
            return self.redirect(path);
        }
        let mut response = self.redirect(path);
        *response.status_mut() = StatusCode::OK;
        if let Some(to) = response.headers_mut().remove(LOCATION) {
            response.headers_mut().insert(HeaderName::from_static("hx-redirect"), to);
        }
        response
    }

    fn redirect(self, path: &str) -> Response {
        let prefix = &self.frame.prefix;
        let mut response = StatusCode::SEE_OTHER.into_response();
        let to = HeaderValue::from_str(&format!("{prefix}{path}"));
        response.headers_mut().insert(LOCATION, to.unwrap_or(HeaderValue::from_static("/")));
        let said = self.frame.seal.close(&self.frame.visitor.person, &self.said);
        let set =
            format!("{COOKIE}={said}; Path={prefix}/; Max-Age=10; SameSite=Strict; HttpOnly{}", self.frame.secure);
        if let Ok(set) = HeaderValue::from_str(&set) {
            response.headers_mut().append(SET_COOKIE, set);
        }
        response
    }
}

/// Text for an address or a cookie: everything but letters, digits and dashes as `%XX`.
pub(super) fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
        escaped
    })
}

/// The inverse of [`escaped`]; `None` where the text is none of its.
pub(in crate::page) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        } else {
            byte
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// JSON with every letter that a header cannot have as `\u`: there are none outside of its strings.
fn ascii(json: &str) -> String {
    let mut buffer = [0; 2];
    json.chars().fold(String::new(), |mut ascii, letter| {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            use std::fmt::Write as _;
            for unit in letter.encode_utf16(&mut buffer) {
                // Writing to a String cannot fail.
                let _ = write!(ascii, "\\u{unit:04x}");
            }
        }
        ascii
    })
}
