//! Policies' verdicts in words, each with a command that opens the port and nothing else.

use fairlead_model::NotebookId;
use fairlead_model::access::SSHD_PORT;
use fairlead_model::plan::mesh::{DENY, GATEWAY_LABEL};
use serde_json::{Value, json};

use super::mesh::{Guard, ROOT};
use super::peers::Strict;
use super::way::{Source, Verdict};
use super::{AUTHORIZATIONS, PEERS};
use crate::check::{Finding, Level, join};
use crate::cluster::is_answer;
use crate::watch::chain;

pub(super) fn networks(verdict: Verdict, id: &NotebookId, sources: &[Source]) -> Finding {
    match verdict {
        Verdict::Untouched => Finding::ok("no NetworkPolicy selects its Pod"),
        Verdict::Open => Finding::ok(format!("NetworkPolicies let Fairlead reach port {SSHD_PORT} of its Pod")),
        Verdict::Unknown(names) => unknown("NetworkPolicy", &names, id.namespace.as_str()),
        Verdict::Closed(names) | Verdict::Denied(names) => {
            let names = list(&names);
            let what = format!(
                "network: NetworkPolicy {names} closes its Pod, and nothing opens port {SSHD_PORT} to Fairlead"
            );
            Finding::fail(what, open_network(id, sources))
        }
    }
}

/// A NetworkPolicy for this one notebook: a Pod that none selects so far would be closed by it.
fn open_network(id: &NotebookId, sources: &[Source]) -> String {
    let source = sources.first().cloned().unwrap_or_default();
    // Every namespace has the first label from Kubernetes 1.21 on; the second one is in Fairlead's manifests.
    let keys = ["kubernetes.io/metadata.name", "app.kubernetes.io/name"];
    let found = source.namespace_labels.as_ref().map(|labels| keys.map(|key| Some((key, labels.get(key)?.clone()))));
    let (key, value, before) = match found {
        Some([Some((key, value)), _] | [None, Some((key, value))]) => (key, value, String::new()),
        Some([None, None]) => {
            let before = format!("kubectl label namespace {} {}=fairlead; ", source.namespace, keys[1]);
            (keys[1], "fairlead".to_owned(), before)
        }
        None => (keys[0], source.namespace, String::new()),
    };
    let port = json!({"protocol": "TCP", "port": SSHD_PORT});
    let from = json!({"namespaceSelector": {"matchLabels": {key: value}}});
    let spec = json!({"podSelector": of_notebook(id), "policyTypes": ["Ingress"],
        "ingress": [{"from": [from], "ports": [port]}]});
    before + &apply("networking.k8s.io/v1", "NetworkPolicy", id, &spec)
}

/// A guard that is no sidecar in the way.
pub(super) fn guard(guard: Guard, pod: &str) -> Finding {
    match guard {
        Guard::Nothing | Guard::Sidecar => Finding::ok("its Pod has no sidecar: policies of Istio do not count"),
        Guard::GoesPast => Finding::ok(format!("port {SSHD_PORT} is excluded from its Pod's sidecar")),
        Guard::Ambient => Finding::warn(
            "its Pod is in Istio's ambient mesh: whether policies there let Fairlead in is not looked at",
            format!("kubectl logs -n {ROOT} daemonset/ztunnel | grep {pod}"),
        ),
    }
}

pub(super) fn peers(strict: Option<Strict>, id: &NotebookId) -> Finding {
    let Some(Strict { by, of_pod }) = strict else {
        return Finding::ok(format!("no PeerAuthentication makes its sidecar strict about port {SSHD_PORT}"));
    };
    let exception = json!({SSHD_PORT.to_string(): {"mode": "PERMISSIVE"}});
    let fix = if let Some(name) = of_pod {
        let patch = json!({"spec": {"portLevelMtls": exception}});
        format!("kubectl patch peerauthentication -n {} {name} --type merge -p '{patch}'", id.namespace)
    } else {
        let spec = json!({"selector": of_notebook(id), "portLevelMtls": exception});
        apply("security.istio.io/v1beta1", PEERS, id, &spec)
    };
    let what = format!("mesh: PeerAuthentication `{by}` is STRICT: its sidecar refuses the gateway, which has none");
    Finding::fail(what, fix)
}

pub(super) fn peers_of_all(strict: Option<Strict>) -> Finding {
    let Some(Strict { by, .. }) = strict else {
        return Finding::ok("no PeerAuthentication makes the whole mesh strict");
    };
    Finding::warn(
        format!("PeerAuthentication `{by}` is STRICT for the whole mesh: sidecars refuse the gateway, which has none"),
        format!(
            "an exception for port {SSHD_PORT} in each profile (`portLevelMtls` counts only below a selector): \
             fairlead-server check NAMESPACE/NOTEBOOK shows it"
        ),
    )
}

pub(super) fn authorizations(verdict: Verdict, id: &NotebookId) -> Finding {
    match verdict {
        Verdict::Untouched => Finding::ok("no AuthorizationPolicy is for its sidecar"),
        Verdict::Open => Finding::ok(format!("AuthorizationPolicies let Fairlead reach port {SSHD_PORT}")),
        Verdict::Unknown(names) => unknown(AUTHORIZATIONS, &names, id.namespace.as_str()),
        Verdict::Closed(names) => {
            let rule = json!({"to": [{"operation": {"ports": [SSHD_PORT.to_string()]}}]});
            let spec = json!({"selector": of_notebook(id), "action": "ALLOW", "rules": [rule]});
            let names = list(&names);
            let what =
                format!("mesh: AuthorizationPolicy {names} closes its sidecar, and nothing opens port {SSHD_PORT}");
            Finding::fail(what, apply("security.istio.io/v1beta1", AUTHORIZATIONS, id, &spec))
        }
        Verdict::Denied(names) => {
            Finding::fail(format!("mesh: AuthorizationPolicy {} denies it to Fairlead", list(&names)), spare(&names))
        }
    }
}

pub(super) fn authorizations_of_all(verdict: Verdict) -> Finding {
    match verdict {
        Verdict::Untouched | Verdict::Open => {
            Finding::ok(format!("no AuthorizationPolicy in `{ROOT}` closes port {SSHD_PORT} of all sidecars"))
        }
        Verdict::Unknown(names) => unknown(AUTHORIZATIONS, &names, ROOT),
        Verdict::Closed(names) => Finding::warn(
            format!("AuthorizationPolicy {} closes what nothing opens, in all sidecars", list(&names)),
            format!(
                "an ALLOW for port {SSHD_PORT} in each profile with sidecars: \
                 fairlead-server check NAMESPACE/NOTEBOOK shows it"
            ),
        ),
        Verdict::Denied(names) => Finding::warn(
            format!("AuthorizationPolicy {} denies port {SSHD_PORT} to Fairlead, in all sidecars", list(&names)),
            spare(&names),
        ),
    }
}

/// Policies that could not be read.
pub(super) fn unlisted(kind: &str, error: &kube::Error) -> Finding {
    let what = format!("{kind} objects cannot be listed, and may keep people out unseen: {}", chain(error));
    let right = match kind {
        PEERS => "peerauthentications.security.istio.io",
        AUTHORIZATIONS => "authorizationpolicies.security.istio.io",
        "Pod" => "pods",
        _ => "networkpolicies.networking.k8s.io",
    };
    let fix = if is_answer(error, 403) { "apply deploy/base again: the right to list" } else { "kubectl get -A" };
    Finding::warn(what, format!("{fix} {right}"))
}

/// A refusal that somebody in one of Fairlead's Pods was not met with.
pub(super) fn doubted(finding: Finding) -> Finding {
    let Finding { level: Level::Fail, what, fix } = finding else { return finding };
    Finding { level: Level::Warn, what: format!("{what}; yet sshd greets this Pod: nothing enforces it now"), fix }
}

fn unknown(kind: &str, names: &[String], namespace: &str) -> Finding {
    let what = format!("whether {kind} {} lets Fairlead reach port {SSHD_PORT} cannot be told from here", list(names));
    Finding::warn(what, format!("kubectl get {} -n {namespace} -o yaml", kind.to_lowercase()))
}

/// How to let a DENY spare the port.
fn spare(names: &[String]) -> String {
    let (namespace, name) = names.first().and_then(|name| name.split_once('/')).unwrap_or_default();
    if name == DENY {
        // Fairlead's own: an edit would not last, and the gateways as they are now are let in within seconds.
        return format!("it is for who is no gateway: kubectl get pods -A -l {GATEWAY_LABEL}=true -o wide");
    }
    format!(
        "kubectl edit authorizationpolicy -n {namespace} {name}: `notPorts: [\"{SSHD_PORT}\"]` in the operation of \
         each rule"
    )
}

fn of_notebook(id: &NotebookId) -> Value {
    json!({"matchLabels": {"notebook-name": id.name.as_str()}})
}

fn apply(version: &str, kind: &str, id: &NotebookId, spec: &Value) -> String {
    let name = format!("fairlead-{}", id.name);
    // By this label docs/install.md takes them away again.
    let labels = json!({"app.kubernetes.io/part-of": "fairlead"});
    let meta = json!({"name": name, "namespace": id.namespace.as_str(), "labels": labels});
    let object = json!({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec});
    format!("echo '{object}' | kubectl apply -f -")
}

fn list(names: &[String]) -> String {
    join(names.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_named_by_a_label_that_it_has() {
        let id = NotebookId::parse("team-a", "ml").expect("a notebook");
        let named = ("kubernetes.io/metadata.name", "fairlead-system");
        let ours = ("app.kubernetes.io/name", "fairlead");
        let label = "kubectl label namespace fairlead-system app.kubernetes.io/name=fairlead; echo ";
        for (labels, begin, (key, value)) in [
            (Some(vec![named, ours]), "echo ", named),
            (Some(vec![ours]), "echo ", ours),
            (Some(vec![]), label, ours),
            (None, "echo ", named),
        ] {
            let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
            let namespace_labels = labels.clone().map(|labels| labels.into_iter().map(owned).collect());
            let source = Source { namespace: "fairlead-system".into(), namespace_labels, ..Source::default() };
            let fix = open_network(&id, &[source]);
            let selector = json!({"namespaceSelector": {"matchLabels": {key: value}}}).to_string();
            assert!(fix.starts_with(begin) && fix.contains(&selector), "{labels:?}: {fix}");
        }
    }
}
