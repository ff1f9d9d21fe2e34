//! AuthorizationPolicies as Istio puts them into a sidecar: Envoy's RBAC, for a port of TCP and for one of HTTP.
//!
//! istiod is not to be had here, so its rules are written down again, in our own words, from `pilot/pkg/security/authz` of
//! istio/istio: `builder/builder.go` (filters and their order), `model/model.go` (a rule's parts),
//! `model/generator.go` (each field), `matcher/` (strings). Only what Kubeflow and Fairlead write is here; anything else
//! ends the test.

use serde_json::{Map, Value, json};

/// The namespace whose policies count for every workload of the mesh.
const ROOT: &str = "istio-system";

/// What a port speaks, as far as a sidecar knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Bytes: fields of HTTP cannot be looked at.
    Tcp,
    /// Requests.
    Http,
}

/// The RBAC filters' rules for a Pod of `namespace` with `labels`, in the order in which they are asked: what denies comes
/// before what allows (`BuildTCP`, `BuildHTTP`). No policy of an action: no filter of it. With a filter that allows,
/// what it does not match is refused, which is why one ALLOW closes everything that it does not name.
pub(super) fn rules(policies: &[Value], namespace: &str, labels: &Value, protocol: Protocol) -> Vec<Value> {
    let here = |policy: &&Value| applies(policy, namespace, labels);
    let of = |action: &str| {
        let wanted = |policy: &&Value| policy["spec"]["action"].as_str().unwrap_or("ALLOW") == action;
        policies.iter().filter(here).filter(wanted).collect::<Vec<_>>()
    };
    for policy in policies {
        let action = policy["spec"]["action"].as_str().unwrap_or("ALLOW");
        assert!(["ALLOW", "DENY"].contains(&action), "no translation of {action}");
    }
    let all = ["DENY", "ALLOW"].map(|action| (action, of(action)));
    let there = all.into_iter().filter(|(_, found)| !found.is_empty());
    there.map(|(action, found)| filter(action, &found, protocol)).collect()
}

/// A policy of the Pod's own namespace or of the mesh's, whose selector, if it has one, the Pod meets.
fn applies(policy: &Value, namespace: &str, labels: &Value) -> bool {
    let mut wanted = policy["spec"]["selector"]["matchLabels"].as_object().into_iter().flatten();
    let place = policy["metadata"]["namespace"].as_str().expect("a policy has a namespace");
    (place == namespace || place == ROOT) && wanted.all(|(key, value)| labels[key] == *value)
}

/// All rules of the policies of one action. A policy without rules is one that never matches (`rbacPolicyMatchNever`).
fn filter(action: &str, policies: &[&Value], protocol: Protocol) -> Value {
    let mut all = Map::new();
    for policy in policies {
        let metadata = &policy["metadata"];
        let name = format!("{}/{}", metadata["namespace"], metadata["name"]).replace('"', "");
        let rules = policy["spec"]["rules"].as_array().cloned().unwrap_or_default();
        for (index, rule) in rules.iter().enumerate() {
            if let Some(made) = made(rule, action, protocol) {
                all.insert(format!("{name}/{index}"), made);
            }
        }
        if rules.is_empty() {
            let never =
                json!({"permissions": [{"not_rule": {"any": true}}], "principals": [{"not_id": {"any": true}}]});
            all.insert(name, never);
        }
    }
    json!({"action": action, "policies": all})
}

/// One rule: any of `from` and any of `to`, with every `when` in each (`New`, `Generate`). A rule that allows is left out
/// whole when one of its fields cannot be looked at.
fn made(rule: &Value, action: &str, protocol: Protocol) -> Option<Value> {
    let list = |key: &str, inner: &str| match rule[key].as_array() {
        Some(all) => all.iter().map(|one| one[inner].clone()).collect(),
        None => vec![Value::Null],
    };
    let when = rule["when"].as_array().cloned().unwrap_or_default();
    let when: Vec<_> =
        when.iter().map(|one| field(one["key"].as_str().expect("a key"), one, "values", "notValues")).collect();
    let side = |all: Vec<Value>, fields: &[&str], side: Side| {
        let whole = |one: &Value| {
            let own = fields.iter().map(|name| field(name, one, name, &not(name)));
            let conditions: Vec<_> = own.chain(when.iter().cloned()).filter(|field| field.side() == side).collect();
            known(one, fields);
            all_of(side, &conditions, action, protocol)
        };
        all.iter().map(whole).collect::<Option<Vec<_>>>()
    };
    let from = side(list("from", "source"), &["principals", "namespaces", "ipBlocks"], Side::Principal)?;
    let to = side(list("to", "operation"), &["methods", "paths", "ports"], Side::Permission)?;
    Some(json!({"permissions": to, "principals": from}))
}

/// Whether a condition is about the request or about who sends it; Envoy keeps the two apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Permission,
    Principal,
}

/// One field of a rule: any of `values`, and none of `not`.
#[derive(Debug, Clone)]
struct Field {
    key: String,
    values: Vec<String>,
    not: Vec<String>,
}

impl Field {
    fn side(&self) -> Side {
        let permission = ["methods", "paths", "ports", "destination.port"].contains(&self.key.as_str());
        if permission { Side::Permission } else { Side::Principal }
    }
}

fn field(key: &str, of: &Value, values: &str, not: &str) -> Field {
    let words = |name: &str| -> Vec<String> {
        let all = of[name].as_array().into_iter().flatten();
        all.map(|value| value.as_str().expect("values are strings").to_owned()).collect()
    };
    Field { key: key.to_owned(), values: words(values), not: words(not) }
}

/// `notPorts` of `ports`.
fn not(name: &str) -> String {
    format!("not{}{}", name[..1].to_uppercase(), &name[1..])
}

/// Ends the test at a field that is not translated: leaving it out would make a rule wider than it is.
fn known(one: &Value, fields: &[&str]) {
    for key in one.as_object().into_iter().flat_map(Map::keys) {
        assert!(fields.iter().any(|name| key == name || *key == not(name)), "no translation of `{key}`");
    }
}

fn all_of(side: Side, fields: &[Field], action: &str, protocol: Protocol) -> Option<Value> {
    let mut conditions = vec![];
    let (rules, any) = match side {
        Side::Permission => ("rules", json!({"any": true})),
        Side::Principal => ("ids", json!({"any": true})),
    };
    let or = |all: Vec<Value>| json!({format!("or_{rules}"): {rules: all}});
    for field in fields {
        // `checkError`: of a rule that denies, what cannot be looked at is left out, so that it denies more.
        if protocol == Protocol::Tcp && http_only(&field.key) && !(field.values.is_empty() && field.not.is_empty()) {
            if action == "ALLOW" {
                return None;
            }
            continue;
        }
        let each = |values: &[String]| values.iter().map(|value| condition(&field.key, value)).collect::<Vec<_>>();
        if !field.values.is_empty() {
            conditions.push(or(each(&field.values)));
        }
        if !field.not.is_empty() {
            let key = if side == Side::Permission { "not_rule" } else { "not_id" };
            conditions.push(json!({key: or(each(&field.not))}));
        }
    }
    if conditions.is_empty() {
        conditions.push(any);
    }
    Some(json!({format!("and_{rules}"): {rules: conditions}}))
}

fn http_only(key: &str) -> bool {
    ["methods", "paths"].contains(&key) || key.starts_with("request.")
}

/// One value of a field, as Envoy's condition (`generator.go`). Who sends is the URI of the peer's certificate: without
/// mTLS there is none, and nothing matches.
fn condition(key: &str, value: &str) -> Value {
    let authenticated = |name: Value| json!({"authenticated": {"principal_name": name}});
    match key {
        "ipBlocks" | "source.ip" => {
            let (address, bits) = value.split_once('/').unwrap_or((value, "32"));
            json!({"direct_remote_ip": {"address_prefix": address, "prefix_len": bits.parse::<u32>().expect("a CIDR")}})
        }
        "principals" | "source.principal" => authenticated(text(value, "spiffe://")),
        "namespaces" | "source.namespace" => {
            let pattern = format!(".*/ns/{}/.*", value.replace('*', ".*"));
            authenticated(json!({"safe_regex": {"regex": pattern}}))
        }
        "ports" | "destination.port" => json!({"destination_port": value.parse::<u16>().expect("a port")}),
        "methods" => json!({"header": header(":method", value)}),
        "paths" => json!({"url_path": {"path": text(value, "")}}),
        _ => {
            let name = key.strip_prefix("request.headers[").and_then(|rest| rest.strip_suffix(']'));
            let name = name.unwrap_or_else(|| panic!("no translation of `{key}`"));
            json!({"header": header(name, value)})
        }
    }
}

fn header(name: &str, value: &str) -> Value {
    if value == "*" {
        return json!({"name": name, "present_match": true});
    }
    json!({"name": name, "string_match": text(value, "")})
}

/// A string as policies have it: with a star at its end a prefix, at its beginning a suffix, alone anything.
fn text(value: &str, prefix: &str) -> Value {
    match (value.strip_prefix('*'), value.strip_suffix('*')) {
        (Some(""), _) => json!({"safe_regex": {"regex": ".+"}}),
        (Some(end), _) => json!({"suffix": end}),
        (None, Some(start)) => json!({"prefix": format!("{prefix}{start}")}),
        (None, None) => json!({"exact": format!("{prefix}{value}")}),
    }
}
