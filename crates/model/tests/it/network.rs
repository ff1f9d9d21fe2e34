//! What the NetworkPolicy lets through, by an evaluator of its own: the semantics of networking.k8s.io/v1 for what comes
//! in, with ports by number.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::net::{IpAddr, Ipv4Addr};

use fairlead_model::cidr::Cidr;
use fairlead_model::plan::mesh::{Mode, Settings};
use fairlead_model::plan::network;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// Somebody who dials.
#[derive(Debug, Clone)]
struct Peer {
    space: Map<String, Value>,
    labels: Map<String, Value>,
    ip: IpAddr,
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn selects(selector: &Value, labels: &Map<String, Value>) -> bool {
    let equal =
        selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    equal
        && expressions.all(|one| match one["operator"].as_str().unwrap() {
            "Exists" => labels.contains_key(one["key"].as_str().unwrap()),
            other => panic!("no {other} here"),
        })
}

fn in_block(block: &str, ip: IpAddr) -> bool {
    let (base, length) = block.split_once('/').unwrap();
    match (base.parse().unwrap(), ip) {
        (IpAddr::V4(base), IpAddr::V4(ip)) => {
            let length: u32 = length.parse().unwrap();
            (0..length).all(|bit| (base.to_bits() ^ ip.to_bits()) & (1 << (31 - bit)) == 0)
        }
        _ => false,
    }
}

fn is_from(rule: &Value, peer: &Peer) -> bool {
    let Some(from) = rule["from"].as_array().filter(|all| !all.is_empty()) else { return true };
    from.iter().any(|one| match one["ipBlock"]["cidr"].as_str() {
        Some(block) => in_block(block, peer.ip),
        None => {
            // Without a selector of namespaces it is for the policy's own, where nobody here is.
            !one["namespaceSelector"].is_null()
                && selects(&one["namespaceSelector"], &peer.space)
                && (one["podSelector"].is_null() || selects(&one["podSelector"], &peer.labels))
        }
    })
}

fn is_port(rule: &Value, protocol: &str, port: u64) -> bool {
    let Some(ports) = rule["ports"].as_array().filter(|all| !all.is_empty()) else { return true };
    ports.iter().any(|one| {
        let first = one["port"].as_u64();
        let last = one["endPort"].as_u64().or(first);
        one["protocol"].as_str().unwrap_or("TCP") == protocol
            && first.is_none_or(|first| first <= port)
            && last.is_none_or(|last| port <= last)
    })
}

/// Whether policies let a connection to a Pod through. They add up, and a Pod that none selects is open.
fn lets_in(policies: &[Value], pod: &Map<String, Value>, peer: &Peer, protocol: &str, port: u64) -> bool {
    let inbound = |spec: &&Value| spec["policyTypes"].as_array().is_none_or(|all| all.contains(&json!("Ingress")));
    let selecting: Vec<&Value> =
        policies.iter().filter(inbound).filter(|spec| selects(&spec["podSelector"], pod)).collect();
    selecting.is_empty()
        || selecting
            .iter()
            .flat_map(|spec| spec["ingress"].as_array().into_iter().flatten())
            .any(|rule| is_from(rule, peer) && is_port(rule, protocol, port))
}

fn ours(direct: &[&str]) -> Value {
    let direct = direct.iter().map(|block| Cidr::parse(block).unwrap()).collect();
    let settings =
        Settings { mode: Mode::None, direct, network_policies: true, namespace: "fairlead-system".to_owned() };
    network::spec(&settings)
}

fn notebook() -> Map<String, Value> {
    object(json!({"notebook-name": "ml", "statefulset": "ml"}))
}

fn peer(space: &str, labels: Value, ip: &str) -> Peer {
    let space = object(json!({"kubernetes.io/metadata.name": space}));
    Peer { space, labels: object(labels), ip: ip.parse().unwrap() }
}

#[test]
fn sshd_is_for_gateways_and_every_other_port_as_it_was() {
    let label = json!({"fairlead.dev/gateway": "true"});
    let policies = [ours(&["172.16.0.0/12"])];
    for (peer, expected) in [
        (peer("fairlead-system", label.clone(), "10.9.0.1"), true),
        (peer("elsewhere", json!({}), "172.16.0.1"), true),
        // Their own Pods may have the label, and the system's others not.
        (peer("team-a", label.clone(), "10.9.0.2"), false),
        (peer("fairlead-system", json!({}), "10.9.0.3"), false),
        (peer("fairlead-system", json!({"fairlead.dev/gateway": "false"}), "10.9.0.4"), false),
        (peer("elsewhere", json!({}), "172.32.0.1"), false),
    ] {
        assert_eq!(lets_in(&policies, &notebook(), &peer, "TCP", 2209), expected, "{peer:?}");
        for (protocol, port) in [
            ("TCP", 1),
            ("TCP", 80),
            ("TCP", 2208),
            ("TCP", 2210),
            ("TCP", 8888),
            ("TCP", 65535),
            ("UDP", 1),
            ("UDP", 2209),
            ("UDP", 65535),
            ("SCTP", 2209),
        ] {
            assert!(lets_in(&policies, &notebook(), &peer, protocol, port), "{peer:?} {protocol} {port}");
        }
        // Pods of nobody's notebook are as they were.
        assert!(lets_in(&policies, &Map::new(), &peer, "TCP", 2209));
    }
}

fn block() -> impl Strategy<Value = Value> {
    (any::<u32>(), 0_u32..=4).prop_map(|(bits, length)| {
        let base = Ipv4Addr::from_bits(bits & u32::MAX.checked_shl(32 - length).unwrap_or(0));
        json!({"ipBlock": {"cidr": format!("{base}/{length}")}})
    })
}

fn port() -> impl Strategy<Value = Value> {
    let number = prop::sample::select(vec![80_u64, 2200, 2209, 2210, 8888]);
    (prop::sample::select(vec!["TCP", "UDP"]), number, prop::option::of(0_u64..20)).prop_map(
        |(protocol, port, more)| match more {
            Some(more) => json!({"protocol": protocol, "port": port, "endPort": port + more}),
            None => json!({"protocol": protocol, "port": port}),
        },
    )
}

fn other() -> impl Strategy<Value = Value> {
    let space = prop::sample::select(vec!["fairlead-system", "team-b"])
        .prop_map(|name| json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}));
    let from = prop::collection::vec(prop_oneof![block(), space], 0..3);
    let rule =
        (from, prop::collection::vec(port(), 0..3)).prop_map(|(from, ports)| json!({"from": from, "ports": ports}));
    let selector = prop::sample::select(vec![
        json!({}),
        json!({"matchLabels": {"notebook-name": "ml"}}),
        json!({"matchLabels": {"a": "b"}}),
    ]);
    let types =
        prop::sample::select(vec![json!(["Ingress"]), json!(null), json!(["Egress"]), json!(["Egress", "Ingress"])]);
    (selector, types, prop::collection::vec(rule, 0..3)).prop_map(
        |(selector, types, ingress)| json!({"podSelector": selector, "policyTypes": types, "ingress": ingress}),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn it_never_opens_what_another_closes(
        others in prop::collection::vec(other(), 0..3),
        ip in any::<u32>(),
        space in prop::sample::select(vec!["fairlead-system", "team-b", "team-a"]),
        is_gateway in any::<bool>(),
        protocol in prop::sample::select(vec!["TCP", "UDP", "SCTP"]),
        port in prop_oneof![Just(2209_u64), prop::sample::select(vec![1_u64, 80, 2208, 2210, 8888, 65535]), 1_u64..=65535],
    ) {
        let labels = if is_gateway { json!({"fairlead.dev/gateway": "true"}) } else { json!({}) };
        let peer = peer(space, labels, &Ipv4Addr::from_bits(ip).to_string());
        // What the plan does with them: the facts as the operator reads them.
        let world = crate::mesh::world_with_networks(&others);
        let settings = Settings { network_policies: true, namespace: "fairlead-system".into(), ..Settings::default() };
        let with: Vec<Value> = crate::mesh::network_of(&world, &settings).into_iter().chain(others.iter().cloned()).collect();
        let before = lets_in(&others, &notebook(), &peer, protocol, port);
        let after = lets_in(&with, &notebook(), &peer, protocol, port);
        if protocol == "TCP" && port == 2209 {
            prop_assert!(before || !after, "opened: {:?}", with);
        } else {
            prop_assert_eq!(before, after, "{:?}", with);
        }
    }
}
