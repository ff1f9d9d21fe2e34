//! Whether Istio's AuthorizationPolicies let Fairlead reach sshd through a sidecar, as istiod makes rules for TCP of
//! them (Istio's `pilot/pkg/security/authz`). Fairlead has no sidecar: no rule takes it for anybody's identity.

use std::collections::BTreeMap;
use std::net::IpAddr;

use fairlead_model::access::SSHD_PORT;
use serde::Deserialize;

use super::mesh::{Ruled, Workload};
use super::way::{Source, Sure, Verdict, in_block};

/// What is read of an AuthorizationPolicy. Sources and operations are lists by field, as `ipBlocks` or `notPorts`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    selector: Workload,
    target_ref: Option<serde_json::Value>,
    target_refs: Vec<serde_json::Value>,
    action: Option<String>,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Rule {
    from: Vec<From>,
    to: Vec<To>,
    when: Vec<When>,
}

type Fields = BTreeMap<String, Vec<String>>;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct From {
    source: Fields,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct To {
    operation: Fields,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct When {
    key: String,
    values: Vec<String>,
    not_values: Vec<String>,
}

/// What the policies that apply to one Pod say to Fairlead's Pods.
pub(super) fn judge(policies: &[&Ruled<Spec>], pod: Option<IpAddr>, sources: &[Source]) -> Verdict {
    let verdicts = sources.iter().map(|source| judge_one(policies, &Connection { source: source.ip, pod }));
    verdicts.max().unwrap_or(Verdict::Untouched)
}

impl Ruled<Spec> {
    /// Whether it is for the sidecar of a Pod with these labels, and not only tried out.
    pub(super) fn applies(&self, labels: &super::way::Labels) -> bool {
        self.is_for_all() || (self.is_enforced() && !self.spec.selector.is_any() && self.spec.selector.takes(labels))
    }

    /// Whether it is for every Pod that its namespace counts for.
    pub(super) fn is_for_all(&self) -> bool {
        self.is_enforced() && self.spec.selector.is_any()
    }

    /// One with a target is for gateways and waypoints.
    fn is_enforced(&self) -> bool {
        !self.dry_run && self.spec.target_ref.is_none() && self.spec.target_refs.is_empty()
    }
}

/// The addresses of a TCP connection to sshd.
struct Connection {
    source: Option<IpAddr>,
    pod: Option<IpAddr>,
}

fn judge_one(policies: &[&Ruled<Spec>], connection: &Connection) -> Verdict {
    let of = |action: &str| -> Vec<&Ruled<Spec>> {
        let is = |policy: &&Ruled<Spec>| policy.spec.action.as_deref().unwrap_or("ALLOW") == action;
        policies.iter().copied().filter(is).collect()
    };
    let names = |found: Vec<&Ruled<Spec>>| found.into_iter().map(Ruled::full_name).collect();
    let judged = |policy: &Ruled<Spec>| Sure::any(policy.spec.rules.iter().map(|rule| rule.denies(connection)));
    let (mut unsure, denying): (Vec<_>, Vec<_>) = of("DENY")
        .into_iter()
        .filter(|policy| judged(policy) != Sure::No)
        .partition(|policy| judged(policy) == Sure::Unknown);
    if !denying.is_empty() {
        return Verdict::Denied(names(denying));
    }
    let allowing = of("ALLOW");
    let rules = allowing.iter().flat_map(|policy| &policy.spec.rules);
    let open = if allowing.is_empty() { Sure::Yes } else { Sure::any(rules.map(|rule| rule.allows(connection))) };
    match open {
        Sure::No => return Verdict::Closed(names(allowing)),
        Sure::Unknown => unsure.extend(allowing),
        Sure::Yes => {}
    }
    // Whoever a CUSTOM policy asks is not asked here.
    unsure.extend(of("CUSTOM"));
    match (unsure.is_empty(), policies.is_empty()) {
        (false, _) => Verdict::Unknown(names(unsure)),
        (true, false) => Verdict::Open,
        (true, true) => Verdict::Untouched,
    }
}

impl Rule {
    /// An ALLOW rule with any field of HTTP is left out for TCP as a whole.
    fn allows(&self, connection: &Connection) -> Sure {
        self.matches(&|term| connection.matches(term)).unwrap_or(Sure::No)
    }

    /// Of a DENY rule only the fields of HTTP are left out: it denies more than it says.
    fn denies(&self, connection: &Connection) -> Sure {
        self.matches(&|term| Some(connection.matches(term).unwrap_or(Sure::Yes))).unwrap_or(Sure::Yes)
    }

    /// One `from`, one `to` and all of `when`; `None` where a term has no answer.
    fn matches(&self, answer: &dyn Fn(&Term) -> Option<Sure>) -> Option<Sure> {
        let when = self
            .when
            .iter()
            .map(|when| answer(&Term { key: &when.key, values: &when.values, not_values: &when.not_values }));
        let from = self.from.iter().map(|from| every(&from.source, answer));
        let to = self.to.iter().map(|to| every(&to.operation, answer));
        let (from, to) = (from.collect::<Option<Vec<_>>>()?, to.collect::<Option<Vec<_>>>()?);
        let one = |all: Vec<Sure>| if all.is_empty() { Sure::Yes } else { Sure::any(all.into_iter()) };
        let when = Sure::all(when.collect::<Option<Vec<_>>>()?.into_iter());
        Some(when.min(one(from)).min(one(to)))
    }
}

/// One field with what it must be and what it must not be; an empty list says nothing.
struct Term<'a> {
    key: &'a str,
    values: &'a [String],
    not_values: &'a [String],
}

fn every(fields: &Fields, answer: &dyn Fn(&Term) -> Option<Sure>) -> Option<Sure> {
    let terms = fields.iter().map(|(field, values)| match field.strip_prefix("not") {
        Some(key) => answer(&Term { key, values: &[], not_values: values }),
        None => answer(&Term { key: field, values, not_values: &[] }),
    });
    Some(Sure::all(terms.collect::<Option<Vec<_>>>()?.into_iter()))
}

impl Connection {
    /// Whether a term matches; `None` where it is about HTTP.
    fn matches(&self, term: &Term) -> Option<Sure> {
        let one = |values: &[String]| -> Option<Sure> {
            let found = values.iter().map(|value| self.has(term.key, value));
            Some(Sure::any(found.collect::<Option<Vec<_>>>()?.into_iter()))
        };
        let wanted = if term.values.is_empty() { Sure::Yes } else { one(term.values)? };
        Some(wanted.min(one(term.not_values)?.not()))
    }

    fn has(&self, key: &str, value: &str) -> Option<Sure> {
        let mut letters = key.chars();
        // `notIpBlocks` is `ipBlocks` with a capital.
        let key: String = letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect();
        Some(match key.as_str() {
            // Without a proxy in front the remote address is the source's.
            "ipBlocks" | "remoteIpBlocks" | "source.ip" | "remote.ip" => in_block(self.source, value),
            "destination.ip" => in_block(self.pod, value),
            "ports" | "destination.port" => value.parse().map_or(Sure::Unknown, |port: u16| (port == SSHD_PORT).into()),
            "principals"
            | "namespaces"
            | "serviceAccounts"
            | "source.principal"
            | "source.namespace"
            | "source.serviceAccount" => Sure::No,
            "hosts" | "methods" | "paths" | "requestPrincipals" => return None,
            http if http.starts_with("request.") => return None,
            _ => Sure::Unknown,
        })
    }
}

#[cfg(test)]
mod tests;
