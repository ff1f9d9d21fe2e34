//! Whether the ingress before the page lets nobody say who they are: asked through that ingress, with headers that a
//! client must not be able to set.

use anyhow::{Context, Result};
use axum::http::{HeaderName, Request, StatusCode};
use kube::client::Body;
use kube::{Client, Config};
use serde::Deserialize;

use super::Finding;

/// How to ask the page from outside.
#[derive(Debug, Clone)]
pub struct PageCheck {
    /// The page's address as browsers have it: `https://kubeflow.example.com/fairlead`.
    pub url: String,
    /// The cookies of somebody who is signed in and no admin of Fairlead.
    pub cookie: String,
    /// The header that names the person.
    pub user_header: String,
    /// What stands before the person in it.
    pub user_prefix: String,
    /// The header that names groups, where the page believes one, and the admins' group.
    pub group: Option<(String, String)>,
}

/// Nobody's name.
const FORGED: &str = "forged@fairlead.invalid";

#[derive(Debug, Deserialize)]
struct Me {
    person: String,
    admin: bool,
}

/// Asks as a browser does, and then once for each forged header.
pub async fn look(check: &PageCheck) -> Vec<Finding> {
    let honest = match check.ask(None).await {
        Ok(Ok(me)) => me,
        Ok(Err(status)) => {
            let what = format!("the page at `{}` answers {status} instead of saying who you are", check.url);
            let fix = "give `--page-cookie` what a signed-in browser sends as `Cookie`, and look at `--page-url`";
            return vec![Finding::fail(what, fix)];
        }
        Err(error) => {
            let what = format!("the page at `{}` does not answer: {error:#}", check.url);
            return vec![Finding::fail(what, "look at `--page-url`, and at the VirtualService `fairlead`")];
        }
    };
    let mut findings = vec![Finding::ok(format!("the page knows who asks through the ingress: `{}`", honest.person))];
    findings.push(check.look_at(&check.user_header, &format!("{}{FORGED}", check.user_prefix), &honest).await);
    findings.push(check.look_at("x-fairlead-ingress", FORGED, &honest).await);
    if let Some((header, group)) = &check.group {
        findings.push(if honest.admin {
            let what = format!("`{}` is an admin, so a forged `{header}` would change nothing", honest.person);
            Finding::warn(what, "ask with the cookie of somebody who is none")
        } else {
            check.look_at(header, group, &honest).await
        });
    }
    findings
}

impl PageCheck {
    /// Whether a client's own value of a header counts.
    async fn look_at(&self, header: &str, value: &str, honest: &Me) -> Finding {
        let fix = format!("let the ingress set or remove `{header}`: `headers.request` of the VirtualService");
        match self.ask(Some((header, value))).await {
            Ok(Ok(me)) if me.person == honest.person && me.admin == honest.admin => {
                Finding::ok(format!("a client's own `{header}` does not count"))
            }
            Ok(Ok(_)) => Finding::fail(format!("anybody can be anybody: a client's own `{header}` counts"), fix),
            Ok(Err(status)) => {
                let what = format!("a client's own `{header}` reaches the page, which refuses it ({status})");
                Finding::warn(what, fix)
            }
            Err(error) => Finding::fail(format!("asking with a forged `{header}`: {error:#}"), "try again"),
        }
    }

    async fn ask(&self, forged: Option<(&str, &str)>) -> Result<Result<Me, StatusCode>> {
        let url = self.url.trim_end_matches('/').parse().context("reading `--page-url`")?;
        let mut config = Config::new(url);
        config.default_retry = false;
        let client = Client::try_from(config).context("preparing a client")?;
        let mut request = Request::get("/api/v1/me").header("cookie", &self.cookie);
        if let Some((name, value)) = forged {
            let name: HeaderName = name.parse().with_context(|| format!("reading the header's name `{name}`"))?;
            request = request.header(name, value);
        }
        let request = request.body(Body::empty()).context("writing a request")?;
        let response = client.send(request).await.context("asking the page")?;
        let status = response.status();
        if status != StatusCode::OK {
            return Ok(Err(status));
        }
        let bytes = response.into_body().collect_bytes().await.context("reading the page's answer")?;
        serde_json::from_slice(&bytes).map(Ok).context("what answers there is not the page")
    }
}
