//! The page's languages. One file of texts a language; a test sees that none is missing.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State};
use axum::http::header::{ACCEPT_LANGUAGE, SET_COOKIE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use serde::Serialize;

use super::{Page, csrf};

/// The cookie of somebody who switched.
const COOKIE: &str = "fairlead-lang";
/// The query's field by which one switches.
const FIELD: &str = "lang";

/// A language of the page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum Lang {
    /// English.
    #[default]
    #[serde(rename = "en")]
    En,
    /// 简体中文.
    #[serde(rename = "zh-CN")]
    ZhCn,
}

type Texts = HashMap<String, String>;

static EN: LazyLock<Texts> = LazyLock::new(|| read(include_str!("../../messages/en.yaml")));
static ZH_CN: LazyLock<Texts> = LazyLock::new(|| read(include_str!("../../messages/zh-CN.yaml")));

/// A file of texts: a flat map. One that does not parse is empty, and the tests say so.
fn read(file: &str) -> Texts {
    serde_saphyr::from_str(file).unwrap_or_default()
}

impl Lang {
    /// Every language, with its own name for itself.
    pub const ALL: [(Self, &'static str); 2] = [(Self::En, "English"), (Self::ZhCn, "简体中文")];

    /// As HTML's `lang` has it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::ZhCn => "zh-CN",
        }
    }

    /// The text of a key; the English one, then the key itself, where there is none.
    #[must_use]
    pub fn text(self, key: &str) -> &'static str {
        let texts = match self {
            Self::En => &EN,
            Self::ZhCn => &ZH_CN,
        };
        texts.get(key).or_else(|| EN.get(key)).map_or_else(
            || {
                tracing::error!(key, "a text is missing");
                "…"
            },
            String::as_str,
        )
    }

    /// The text of a key with `{name}` replaced by each value.
    #[must_use]
    pub fn say(self, key: &str, values: &[(&str, &str)]) -> String {
        let mut said = String::new();
        let mut rest = self.text(key);
        // By hand and once through: a value that has braces of its own stays as it is.
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else { break };
            said.push_str(before);
            said.push_str(values.iter().find(|(other, _)| *other == name).map_or("", |(_, value)| value));
            rest = behind;
        }
        said + rest
    }

    fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().map(|(lang, _)| lang).find(|lang| lang.code() == code)
    }

    /// The language that a browser asks for most.
    fn accepted(header: &str) -> Self {
        let weighted = header.split(',').filter_map(|part| {
            let mut pieces = part.split(';').map(str::trim);
            let tag = pieces.next()?.to_ascii_lowercase();
            let weight = pieces.find_map(|piece| piece.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok())?;
            let lang = match tag.split('-').next()? {
                "zh" => Self::ZhCn,
                "en" => Self::En,
                _ => return None,
            };
            Some((weight, lang))
        });
        let best = weighted.fold((0.0_f32, Self::En), |best, one| if one.0 > best.0 { one } else { best });
        best.1
    }

    fn of(headers: &HeaderMap) -> Self {
        let chosen = csrf::cookie(headers, COOKIE).and_then(|code| Self::from_code(&code));
        let accepted = || headers.get(ACCEPT_LANGUAGE).and_then(|header| header.to_str().ok()).map(Self::accepted);
        chosen.or_else(accepted).unwrap_or_default()
    }
}

/// Puts the [`Lang`] into the request; `?lang=` switches, and a cookie remembers that.
pub(super) async fn choose(State(page): State<Arc<Page>>, mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let fields: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    let switched = fields.iter().find(|(name, _)| name == FIELD).and_then(|(_, code)| Lang::from_code(code));
    let lang = switched.unwrap_or_else(|| Lang::of(request.headers()));
    request.extensions_mut().insert(lang);
    let mut response = next.run(request).await;
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Language, Cookie"));
    if switched.is_some() {
        let prefix = &page.settings.prefix;
        let set = format!(
            "{COOKIE}={}; Path={prefix}/; Max-Age=31536000; SameSite=Lax{}",
            lang.code(),
            page.settings.secure()
        );
        if let Ok(set) = HeaderValue::from_str(&set) {
            response.headers_mut().append(SET_COOKIE, set);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_text_is_there_in_every_language_with_the_same_values() {
        assert!(EN.len() > 100 && !ZH_CN.is_empty(), "a file of texts does not parse");
        let keys = |texts: &Texts| texts.keys().cloned().collect::<BTreeSet<_>>();
        let (en, zh) = (keys(&EN), keys(&ZH_CN));
        assert_eq!(en.difference(&zh).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in Chinese");
        assert_eq!(zh.difference(&en).collect::<Vec<_>>(), Vec::<&String>::new(), "missing in English");
        for key in en {
            assert_eq!(values(&EN[&key]), values(&ZH_CN[&key]), "{key}");
        }
    }

    fn values(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
    }

    #[test]
    fn every_text_that_code_or_templates_ask_for_is_there_and_no_other() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut sources = String::new();
        for dir in ["src/page", "src/page/html", "src/page/api", "templates"] {
            for file in std::fs::read_dir(root.join(dir)).into_iter().flatten().flatten() {
                sources += &std::fs::read_to_string(file.path()).unwrap_or_default();
            }
        }
        let asked = |key: &str| sources.contains(&format!("\"{key}\""));
        // Keys that are put together: `state.` and a word.
        let composed = |key: &str| {
            key.match_indices('.')
                .map(|(at, _)| &key[..at])
                .any(|of| sources.contains(&format!("\"{of}.{{")) || sources.contains(&format!("text_of(\"{of}\"")))
        };
        let unused: Vec<&String> = EN.keys().filter(|key| !asked(key) && !composed(key)).collect();
        assert_eq!(unused, Vec::<&String>::new(), "nobody asks for these");
        let wanted = sources.split("text(\"").skip(1).chain(sources.split("say(\"").skip(1));
        let wanted: BTreeSet<&str> = wanted.filter_map(|rest| rest.split('"').next()).collect();
        let missing: Vec<&&str> = wanted.iter().filter(|key| !EN.contains_key(**key) && key.contains('.')).collect();
        assert_eq!(missing, Vec::<&&str>::new(), "these are asked for and not there");
    }

    #[test]
    fn the_browser_says_which_language() {
        for (header, lang) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::ZhCn),
            ("en-GB,en;q=0.9,zh;q=0.8", Lang::En),
            ("de,zh;q=0.5", Lang::ZhCn),
            ("de", Lang::En),
            ("", Lang::En),
            ("zh;q=nonsense", Lang::En),
        ] {
            assert_eq!(Lang::accepted(header), lang, "{header}");
        }
    }

    #[test]
    fn a_value_with_braces_stays_as_it_is() {
        assert_eq!(Lang::En.say("keys.removed", &[("name", "{count}")]), "Removed {count}.");
    }
}
