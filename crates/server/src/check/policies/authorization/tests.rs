//! AuthorizationPolicies as a table: what each does to a connection that comes without a sidecar.

use serde_json::{Value, json};

use super::*;

fn ruled(name: &str, spec: &Value) -> Ruled<Spec> {
    let spec = serde_json::from_value(spec.clone()).expect("a spec");
    Ruled { namespace: "team-a".into(), name: name.into(), made: None, dry_run: false, spec }
}

fn judge_specs(specs: &[Value], source: &str) -> Verdict {
    let all: Vec<_> = specs.iter().enumerate().map(|(at, spec)| ruled(&format!("p{at}"), spec)).collect();
    let source = Source { ip: source.parse().ok(), ..Source::default() };
    judge(&all.iter().collect::<Vec<_>>(), "10.1.0.5".parse().ok(), &[source])
}

fn named(of: fn(Vec<String>) -> Verdict) -> Verdict {
    of(vec!["team-a/p0".to_owned()])
}

#[test]
fn one_rule_opens_or_denies_by_what_tcp_can_know() {
    let from = |source: Value| json!({"from": [{"source": source}]});
    let to = |operation: Value| json!({"to": [{"operation": operation}]});
    let when = |key: &str, values: Value| json!({"when": [{"key": key, "values": values}]});
    // Rule, whether an ALLOW of it opens the port, whether a DENY of it closes it.
    let table = [
        (json!({}), Sure::Yes, Sure::Yes),
        (from(json!({"ipBlocks": ["10.2.0.0/16"]})), Sure::Yes, Sure::Yes),
        (from(json!({"ipBlocks": ["10.3.0.0/16"]})), Sure::No, Sure::No),
        (from(json!({"notIpBlocks": ["10.2.0.0/16"]})), Sure::No, Sure::No),
        (from(json!({"ipBlocks": ["10.0.0.0/8"], "notIpBlocks": ["10.3.0.0/16"]})), Sure::Yes, Sure::Yes),
        (from(json!({"remoteIpBlocks": ["10.2.0.1"]})), Sure::Yes, Sure::Yes),
        (from(json!({"namespaces": ["fairlead-system"]})), Sure::No, Sure::No),
        (from(json!({"notNamespaces": ["fairlead-system"]})), Sure::Yes, Sure::Yes),
        (from(json!({"principals": ["*"]})), Sure::No, Sure::No),
        (from(json!({"notPrincipals": ["*"]})), Sure::Yes, Sure::Yes),
        (from(json!({"requestPrincipals": ["*"]})), Sure::No, Sure::Yes),
        (from(json!({"notRequestPrincipals": ["*"]})), Sure::No, Sure::Yes),
        (to(json!({"ports": ["2209"]})), Sure::Yes, Sure::Yes),
        (to(json!({"ports": ["8888"]})), Sure::No, Sure::No),
        (to(json!({"notPorts": ["2209"]})), Sure::No, Sure::No),
        (to(json!({"notPorts": ["8888"]})), Sure::Yes, Sure::Yes),
        (to(json!({"methods": ["GET"]})), Sure::No, Sure::Yes),
        (to(json!({"paths": ["/x"], "ports": ["2209"]})), Sure::No, Sure::Yes),
        (to(json!({"hosts": ["x"], "ports": ["8888"]})), Sure::No, Sure::No),
        (when("source.ip", json!(["10.2.0.1"])), Sure::Yes, Sure::Yes),
        (when("destination.ip", json!(["10.1.0.5"])), Sure::Yes, Sure::Yes),
        (when("destination.port", json!(["8888"])), Sure::No, Sure::No),
        (when("source.namespace", json!(["team-a"])), Sure::No, Sure::No),
        (when("request.headers[kubeflow-userid]", json!(["ann"])), Sure::No, Sure::Yes),
        (when("connection.sni", json!(["x"])), Sure::Unknown, Sure::Unknown),
        // All terms of a rule have to match, and one of each list.
        (
            json!({"from": [{"source": {"principals": ["x"]}}], "to": [{"operation": {"ports": ["2209"]}}]}),
            Sure::No,
            Sure::No,
        ),
        (json!({"to": [{"operation": {"ports": ["80"]}}, {"operation": {"ports": ["2209"]}}]}), Sure::Yes, Sure::Yes),
        // One term of HTTP takes an ALLOW rule away as a whole.
        (json!({"to": [{"operation": {"paths": ["/x"]}}, {"operation": {"ports": ["2209"]}}]}), Sure::No, Sure::Yes),
    ];
    for (rule, allows, denies) in table {
        let allow = judge_specs(&[json!({"action": "ALLOW", "rules": [rule]})], "10.2.0.1");
        let deny = judge_specs(&[json!({"action": "DENY", "rules": [rule]})], "10.2.0.1");
        let expected = match allows {
            Sure::Yes => Verdict::Open,
            Sure::Unknown => named(Verdict::Unknown),
            Sure::No => named(Verdict::Closed),
        };
        assert_eq!(allow, expected, "ALLOW {rule}");
        let expected = match denies {
            Sure::Yes => named(Verdict::Denied),
            Sure::Unknown => named(Verdict::Unknown),
            Sure::No => Verdict::Open,
        };
        assert_eq!(deny, expected, "DENY {rule}");
    }
}

#[test]
fn policies_add_up_and_a_deny_wins() {
    let open = json!({"rules": [{"to": [{"operation": {"ports": ["2209"]}}]}]});
    let deny_all = json!({});
    let deny = json!({"action": "DENY", "rules": [{"to": [{"operation": {"ports": ["2209"]}}]}]});
    for (specs, expected) in [
        (vec![], Verdict::Untouched),
        (vec![deny_all.clone()], named(Verdict::Closed)),
        (vec![deny_all.clone(), open.clone()], Verdict::Open),
        (vec![deny.clone(), open.clone()], named(Verdict::Denied)),
        (vec![json!({"action": "CUSTOM"}), open.clone()], named(Verdict::Unknown)),
        (vec![json!({"action": "CUSTOM"}), deny_all], Verdict::Closed(vec!["team-a/p1".to_owned()])),
        (vec![json!({"action": "AUDIT", "rules": [{}]})], Verdict::Open),
        (vec![json!({"action": "DENY"})], Verdict::Open),
    ] {
        assert_eq!(judge_specs(&specs, "10.2.0.1"), expected, "{specs:?}");
    }
    // An address that is not known.
    let block = json!({"rules": [{"from": [{"source": {"ipBlocks": ["10.2.0.0/16"]}}]}]});
    assert_eq!(judge_specs(&[block], "unknown"), named(Verdict::Unknown));
    assert_eq!(judge_specs(&[open], "unknown"), Verdict::Open);
}

#[test]
fn kubeflow_s_own_policy_of_a_profile_opens_nothing_for_fairlead() {
    let source = |names: &str| json!([{"source": {"principals": [names]}}]);
    let rules = json!([
        {"from": source("cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"),
            "when": [{"key": "request.headers[kubeflow-userid]", "values": ["ann@example.com"]}]},
        {"when": [{"key": "source.namespace", "values": ["team-a"]}]},
        {"to": [{"operation": {"paths": ["/healthz", "/metrics", "/wait-for-drain"]}}]},
        {"from": source("cluster.local/ns/kubeflow/sa/notebook-controller-service-account"),
            "to": [{"operation": {"methods": ["GET"], "paths": ["*/api/kernels"]}}]},
    ]);
    assert_eq!(judge_specs(&[json!({"rules": rules})], "10.2.0.1"), named(Verdict::Closed));
}

#[test]
fn a_policy_counts_for_the_pods_it_selects() {
    let labels = [("notebook-name".to_owned(), "ml".to_owned())].into();
    let select = |name: &str| json!({"selector": {"matchLabels": {"notebook-name": name}}});
    for (spec, of_pod, of_all) in [
        (json!({}), true, true),
        (select("ml"), true, false),
        (select("nlp"), false, false),
        (json!({"targetRef": {"kind": "Gateway", "name": "x"}}), false, false),
        (json!({"targetRefs": [{"kind": "Service", "name": "x"}]}), false, false),
    ] {
        let policy = ruled("p0", &spec);
        assert_eq!((policy.applies(&labels), policy.is_for_all()), (of_pod, of_all), "{spec}");
        let tried = Ruled { dry_run: true, ..policy };
        assert_eq!((tried.applies(&labels), tried.is_for_all()), (false, false), "{spec}");
    }
}
