//! What the page is told about itself, and whom it believes.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use axum::http::HeaderName;
use fairlead_model::Person;

use crate::settings::PageFlags as Flags;

/// The header by which the ingress proves to be the ingress.
pub(super) const INGRESS_HEADER: &str = "x-fairlead-ingress";
/// A shorter secret can be guessed.
const SECRET_LENGTH: usize = 32;
/// What the manifests ship, for an admin to replace.
const PLACEHOLDER: &str = "CHANGE-ME";

/// Settings of the page.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What every path begins with: empty, or `/fairlead` without a slash at its end.
    pub prefix: String,
    /// The page's own host name; without one it shares its origin with the dashboard and with every notebook.
    pub host: Option<String>,
    /// Origins, besides its own, whose pages may frame this one.
    pub frame_ancestors: Vec<String>,
    /// Whether cookies may travel without TLS.
    pub insecure_cookies: bool,
    /// Whom to believe.
    pub trust: Trust,
    /// Who sees and switches everything.
    pub admins: BTreeSet<Person>,
    /// Whether they are admins also where scripts of others run in this page's origin.
    pub admin_on_shared_origin: bool,
    /// The same for who is in this group, by this header of the ingress: names with commas between them.
    pub admin_group: Option<(HeaderName, String)>,
}

/// Who says who a visitor is.
#[derive(Debug, Clone)]
pub enum Trust {
    /// The ingress, by a header that counts beside its secret alone.
    Ingress {
        /// The header that names the person: `kubeflow-userid`.
        header: HeaderName,
        /// What stands before the name in it; mostly nothing.
        prefix: String,
        /// What nobody but ingress and page knows.
        secret: IngressSecret,
    },
    /// The visitor: a demo, on loopback alone.
    Anybody,
}

/// The secret that ingress and page share.
#[derive(Clone)]
pub struct IngressSecret(String);

impl IngressSecret {
    /// At least 32 characters, and not what the manifests ship.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        let hint = "hint: openssl rand -hex 32";
        ensure!(!text.starts_with(PLACEHOLDER), "the ingress's secret is still the placeholder\n{hint}");
        ensure!(text.len() >= SECRET_LENGTH, "the ingress's secret has fewer than {SECRET_LENGTH} characters\n{hint}");
        Ok(Self(text.to_owned()))
    }

    /// A secret for another purpose, from which this one cannot be known.
    pub(super) fn derive(&self, purpose: &str) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.as_bytes());
        hmac::sign(&key, purpose.as_bytes()).as_ref().to_vec()
    }

    /// Whether this is it, in a time that tells nothing.
    #[must_use]
    pub fn is(&self, other: &[u8]) -> bool {
        verify_slices_are_equal(self.0.as_bytes(), other).is_ok()
    }
}

impl fmt::Debug for IngressSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Settings {
    /// From the flags. Without somebody to believe there is no page.
    pub fn read(flags: &Flags) -> Result<Self> {
        let prefix = flags.prefix.trim_end_matches('/').to_owned();
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte));
        let is_part = |part: &str| !matches!(part, "" | "." | "..") && plain(part);
        ensure!(
            prefix.is_empty() || (prefix.starts_with('/') && prefix.split('/').skip(1).all(is_part)),
            "`--page-prefix` is a path as `/fairlead`, or `/`"
        );
        let host = flags.host.clone().filter(|host| !host.is_empty());
        if let Some(host) = &host {
            ensure!(plain(host) && !host.contains('/'), "`--page-host` is a host name");
        }
        for origin in &flags.frame_ancestors {
            let name = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
            let is_plain = |name: &str| {
                !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte))
            };
            ensure!(
                name.is_some_and(is_plain),
                "`--page-frame-ancestors` has origins as `https://kubeflow.example.com`"
            );
        }
        ensure!(
            !flags.user_header.eq_ignore_ascii_case(INGRESS_HEADER),
            "`--page-user-header` is another one than `{INGRESS_HEADER}`, which says the ingress's secret"
        );
        let admins = flags.admins.iter().filter(|name| !name.is_empty());
        let admins = admins.map(|name| Person::parse(name).with_context(|| format!("reading the admin `{name}`")));
        Ok(Self {
            prefix,
            host,
            frame_ancestors: flags.frame_ancestors.clone(),
            // The demo is asked by HTTP, on this machine.
            insecure_cookies: flags.insecure_cookies || flags.demo,
            trust: Trust::read(flags)?,
            admins: admins.collect::<Result<_>>()?,
            admin_on_shared_origin: flags.admin_on_shared_origin,
            admin_group: group(flags)?,
        })
    }

    /// What every cookie has at its end.
    #[must_use]
    pub const fn secure(&self) -> &'static str {
        if self.insecure_cookies { "" } else { "; Secure" }
    }

    /// Whether admins are more than anybody else here.
    #[must_use]
    pub fn has_admins(&self) -> bool {
        self.admin_on_shared_origin || !self.is_shared_origin()
    }

    /// Whether scripts of others run in this page's origin: everybody's notebooks do behind Kubeflow's one host name.
    #[must_use]
    pub fn is_shared_origin(&self) -> bool {
        self.host.is_none() && !matches!(self.trust, Trust::Anybody)
    }
}

/// Both or neither, and only where somebody says who a visitor is.
fn group(flags: &Flags) -> Result<Option<(HeaderName, String)>> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    match (given(&flags.admin_group_header), given(&flags.admin_group)) {
        (None, None) => Ok(None),
        (Some(header), Some(group)) => {
            ensure!(!flags.demo, "`--page-demo` believes anybody, and so no group");
            let header = HeaderName::try_from(header.as_str()).context("reading `--page-admin-group-header`")?;
            Ok(Some((header, group)))
        }
        _ => bail!("`--page-admin-group-header` and `--page-admin-group` go together"),
    }
}

impl Trust {
    fn read(flags: &Flags) -> Result<Self> {
        let secret = flags.ingress_secret.as_deref().filter(|secret| !secret.is_empty());
        match (flags.demo, secret) {
            (true, Some(_)) => bail!("`--page-demo` believes anybody, so it goes with no `--page-ingress-secret`"),
            (true, None) => {
                let listen: SocketAddr = flags.listen;
                ensure!(
                    listen.ip().is_loopback(),
                    "`--page-demo` believes anybody, so it listens on loopback alone\nhint: --page-listen 127.0.0.1:8080"
                );
                Ok(Self::Anybody)
            }
            (false, Some(secret)) => Ok(Self::Ingress {
                header: HeaderName::try_from(flags.user_header.as_str()).context("reading `--page-user-header`")?,
                prefix: flags.user_prefix.clone(),
                secret: IngressSecret::parse(secret)?,
            }),
            (false, None) => bail!(
                "the part `page` would believe anybody who sends it the header `{}`\nhint: set \
                 FAIRLEAD_PAGE_INGRESS_SECRET to what the ingress sends as `{INGRESS_HEADER}`, or leave `page` out of \
                 `--parts`",
                flags.user_header
            ),
        }
    }
}
