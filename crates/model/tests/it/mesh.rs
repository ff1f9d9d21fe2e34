//! Policies of mesh and network: what is planned, by others' policies and where gateways are.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use fairlead_model::cidr::Cidr;
use fairlead_model::plan::mesh::{self, ALLOW, DENY, GATEWAY_LABEL, MANAGED_BY, Mode, NETWORK, PART_OF, Settings};
use fairlead_model::plan::{MANAGER, policies};
use fairlead_model::read;
use fairlead_model::world::{MeshFact, MeshKind};
use fairlead_model::{Fact, Label, World};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cluster::{Cluster, id, namespace, notebook};

fn settings(mode: Mode) -> Settings {
    Settings { mode, namespace: "fairlead-system".into(), ..Settings::default() }
}

fn direct(blocks: &[&str]) -> BTreeSet<Cidr> {
    blocks.iter().map(|block| Cidr::parse(block).unwrap()).collect()
}

fn gateway(name: &str, ips: &[&str]) -> Value {
    let all: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
    json!({"metadata": {"name": name, "labels": {GATEWAY_LABEL: "true"}},
        "status": {"phase": "Pending", "podIP": ips.first(), "podIPs": all}})
}

fn learn(world: &mut World, fact: Option<MeshFact>) {
    world.apply(Fact::Mesh(fact.expect("a fact")));
}

fn see_gateway(world: &mut World, pod: &Value) {
    learn(world, read::mesh::gateway(&serde_json::from_value(pod.clone()).unwrap()));
}

fn policy(world: &mut World, kind: MeshKind, space: &str, name: &str, spec: &Value) {
    policy_with(world, kind, &json!({"namespace": space, "name": name}), spec);
}

fn policy_with(world: &mut World, kind: MeshKind, meta: &Value, spec: &Value) {
    learn(world, read::mesh::policy(kind, &serde_json::from_value(meta.clone()).unwrap(), &json!({"spec": spec})));
}

/// A profile with two notebooks, every kind listed, and nothing else.
fn world() -> World {
    let mut cluster = Cluster::default();
    cluster.profile("team-a", "alice").notebook("team-a", "ml", "10.1.0.1").notebook("team-a", "nlp", "10.1.0.2");
    for kind in MeshKind::ALL {
        cluster.world.apply(Fact::Mesh(MeshFact::All(kind, Vec::new())));
    }
    cluster.world
}

/// The same with these NetworkPolicies.
pub(crate) fn world_with_networks(specs: &[Value]) -> World {
    let mut world = world();
    for (at, spec) in specs.iter().enumerate() {
        policy(&mut world, MeshKind::Network, "team-a", &format!("p{at}"), spec);
    }
    world
}

/// The NetworkPolicy that is planned beside them.
pub(crate) fn network_of(world: &World, settings: &Settings) -> Option<Value> {
    planned(world, settings, NETWORK)
}

fn names(world: &World, settings: &Settings) -> Vec<String> {
    mesh::plan(world, settings).policies.into_keys().map(|(_, space, name)| format!("{space}/{name}")).collect()
}

fn planned(world: &World, settings: &Settings, name: &str) -> Option<Value> {
    let found = mesh::plan(world, settings).policies.into_values().find(|planned| planned.name == name);
    found.map(|planned| planned.spec)
}

const STRICT: &str = "STRICT";

fn mtls(mode: &str) -> Value {
    json!({"mtls": {"mode": mode}})
}

#[test]
fn all_objects_of_a_profile() {
    let mut world = world();
    see_gateway(&mut world, &gateway("front-1", &["10.9.0.2", "fd00::2"]));
    see_gateway(&mut world, &gateway("front-0", &["10.9.0.10"]));
    policy(&mut world, MeshKind::Authorization, "istio-system", "global-deny-all", &json!({}));
    policy(&mut world, MeshKind::Peer, "istio-system", "default", &mtls(STRICT));
    let settings = Settings { direct: direct(&["172.16.0.0/12"]), network_policies: true, ..settings(Mode::Policies) };
    let objects = mesh::plan(&world, &settings).policies.into_values().map(|planned| planned.object("v1"));
    let objects: Vec<String> = objects.map(|object| serde_json::to_string_pretty(&object).unwrap()).collect();
    insta::assert_snapshot!(objects.join("\n"));
}

#[test]
fn policies_are_for_profiles_with_a_notebook_that_has_ssh() {
    let settings = settings(Mode::Policies);
    let mut cluster = Cluster::default();
    for kind in MeshKind::ALL {
        cluster.world.apply(Fact::Mesh(MeshFact::All(kind, Vec::new())));
    }
    cluster.profile("empty", "alice").profile("team-a", "alice").profile("off", "alice");
    cluster.notebook("team-a", "ml", "10.1.0.1").notebook("nobodys", "ml", "10.1.0.2");
    cluster.see(&notebook("off", "ml", &json!({"fairlead.dev/ssh": "disabled"})));
    assert_eq!(names(&cluster.world, &settings), [format!("team-a/{DENY}")]);
    cluster.see(&namespace("team-a", "alice", &json!({"fairlead.dev/ssh": "disabled"})));
    assert!(names(&cluster.world, &settings).is_empty());
    cluster.profile("team-a", "alice").switched_off(&["team-a"]);
    assert!(names(&cluster.world, &settings).is_empty());
}

#[test]
fn modes_and_missing_kinds_leave_out_what_is_not_wanted() {
    let mut world = world();
    policy(&mut world, MeshKind::Peer, "istio-system", "default", &mtls(STRICT));
    let all = [format!("team-a/{DENY}"), "team-a/fairlead-ml".into(), "team-a/fairlead-nlp".into()];
    assert_eq!(names(&world, &settings(Mode::Policies)), all);
    for mode in [Mode::Exclude, Mode::None] {
        assert!(names(&world, &settings(mode)).is_empty());
        let with_network = Settings { network_policies: true, ..settings(mode) };
        assert_eq!(names(&world, &with_network), [format!("team-a/{NETWORK}")]);
    }
    for (kind, left) in [(MeshKind::Authorization, 2), (MeshKind::Peer, 1)] {
        let mut world = world.clone();
        world.apply(Fact::Mesh(MeshFact::Absent(kind)));
        assert_eq!(names(&world, &settings(Mode::Policies)).len(), left, "without {}", kind.plural());
        assert!(mesh::is_known(&world, &settings(Mode::Policies), kind), "to have none is to know");
    }
}

#[test]
fn nothing_is_known_before_gateways_and_policies_are_listed() {
    let mut world = World::default();
    let policies = settings(Mode::Policies);
    world.apply(Fact::Mesh(MeshFact::All(MeshKind::Authorization, Vec::new())));
    assert!(!mesh::is_known(&world, &policies, MeshKind::Authorization), "the DENY would name nobody");
    assert!(mesh::is_known(&world, &settings(Mode::None), MeshKind::Authorization));
    assert!(!mesh::is_known(&world, &policies, MeshKind::Network));
    world.apply(Fact::Mesh(MeshFact::All(MeshKind::Gateway, Vec::new())));
    assert!(mesh::is_known(&world, &policies, MeshKind::Authorization));
}

#[test]
fn the_addresses_are_those_of_gateways_that_have_not_ended() {
    let mut world = world();
    let sees = |world: &World| -> Vec<String> { world.mesh().gateways().iter().map(ToString::to_string).collect() };
    let mut pod = gateway("front", &["10.9.0.1", "fd00::1"]);
    see_gateway(&mut world, &pod);
    assert_eq!(sees(&world), ["10.9.0.1", "fd00::1"]);
    pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
    see_gateway(&mut world, &pod);
    assert_eq!(sees(&world), ["10.9.0.1", "fd00::1"], "its sessions go on");
    let mut ended = gateway("front", &["10.9.0.1"]);
    ended["status"]["phase"] = "Failed".into();
    see_gateway(&mut world, &ended);
    assert!(sees(&world).is_empty(), "it has ended");
    see_gateway(&mut world, &gateway("front", &["10.9.0.1"]));
    let gone: k8s_openapi::api::core::v1::Pod = serde_json::from_value(gateway("front", &["10.9.0.1"])).unwrap();
    learn(&mut world, read::mesh::gateway(&gone).map(read::mesh::gone));
    assert!(sees(&world).is_empty(), "it is gone");
}

#[test]
fn the_allow_is_where_somebody_s_is_for_all_pods() {
    let selector = json!({"matchLabels": {"notebook-name": "ml"}});
    let managed = json!({"namespace": "team-a", "name": ALLOW, "uid": "u", "resourceVersion": "1",
        "labels": {MANAGED_BY: MANAGER}});
    let plain = |space: &str| json!({"namespace": space, "name": "p"});
    let tried = json!({"namespace": "team-a", "name": "p", "annotations": {"istio.io/dry-run": "true"}});
    for (meta, spec, expected) in [
        (plain("team-a"), json!({}), true),
        (plain("istio-system"), json!({}), true),
        (plain("team-a"), json!({"action": "ALLOW", "rules": [{}]}), true),
        (plain("team-b"), json!({}), false),
        (plain("team-a"), json!({"action": "DENY"}), false),
        (plain("team-a"), json!({"action": "AUDIT"}), false),
        (plain("team-a"), json!({"selector": selector}), false),
        (plain("istio-system"), json!({"selector": selector}), false),
        (plain("team-a"), json!({"targetRefs": [{"kind": "Gateway", "name": "x"}]}), false),
        (tried, json!({}), false),
        // Our own is no reason to keep itself.
        (managed.clone(), json!({"action": "ALLOW"}), false),
        // The label alone makes nothing ours.
        (
            json!({"namespace": "team-a", "name": "p", "uid": "u", "resourceVersion": "1", "labels": {MANAGED_BY: MANAGER}}),
            json!({}),
            true,
        ),
    ] {
        let mut world = world();
        see_gateway(&mut world, &gateway("front", &["10.9.0.1"]));
        policy_with(&mut world, MeshKind::Authorization, &meta, &spec);
        let found = planned(&world, &settings(Mode::Policies), ALLOW).is_some();
        assert_eq!(found, expected, "{meta} {spec}");
        assert!(planned(&world, &settings(Mode::Policies), DENY).is_some());
    }
}

#[test]
fn an_exception_is_where_strict_tls_would_count_and_nobody_else_has_one() {
    let select = |labels: Value, mode: &str| json!({"selector": {"matchLabels": labels}, "mtls": {"mode": mode}});
    let of = |name: &str| json!({"notebook-name": name});
    let (ml, nlp) = ("fairlead-ml", "fairlead-nlp");
    let root = ("istio-system", mtls(STRICT));
    for (policies, expected) in [
        (vec![], vec![]),
        (vec![root.clone()], vec![ml, nlp]),
        (vec![root.clone(), ("team-a", mtls("PERMISSIVE"))], vec![]),
        (vec![root.clone(), ("team-a", mtls("UNSET"))], vec![ml, nlp]),
        (vec![("istio-system", mtls("PERMISSIVE")), ("team-a", mtls(STRICT))], vec![ml, nlp]),
        (vec![("team-b", mtls(STRICT))], vec![]),
        // Whoever has one of their own has it their way: ours would not count, or theirs not any more.
        (vec![root.clone(), ("team-a", select(of("ml"), STRICT))], vec![nlp]),
        (vec![root.clone(), ("team-a", select(json!({"app": "any"}), STRICT))], vec![]),
        (vec![root.clone(), ("team-a", select(json!({"app": "any", "statefulset": "ml"}), STRICT))], vec![nlp]),
        (vec![root.clone(), ("team-a", select(of("other"), STRICT))], vec![ml, nlp]),
        // Those of another namespace select no Pod here.
        (vec![root.clone(), ("istio-system", select(of("ml"), STRICT))], vec![ml, nlp]),
        // The older of two counts.
        (vec![("team-a", mtls("PERMISSIVE")), ("team-a", mtls(STRICT))], vec![]),
        (vec![("team-a", mtls(STRICT)), ("team-a", mtls("PERMISSIVE"))], vec![ml, nlp]),
    ] {
        let mut world = world();
        for (at, (space, spec)) in policies.iter().enumerate() {
            let meta = json!({"namespace": space, "name": format!("p{}", 9 - at),
                "creationTimestamp": format!("2026-01-01T00:00:0{at}Z")});
            policy_with(&mut world, MeshKind::Peer, &meta, spec);
        }
        let plan = mesh::plan(&world, &settings(Mode::Policies)).policies;
        let found: Vec<&str> = plan.keys().filter(|key| key.0 == MeshKind::Peer).map(|key| key.2.as_str()).collect();
        assert_eq!(found, expected, "{policies:?}");
    }
}

#[test]
fn a_network_policy_is_where_no_other_is_about_what_comes_in() {
    let settings = Settings { network_policies: true, ..settings(Mode::None) };
    for (name, spec, expected) in [
        ("p", json!({"podSelector": {}, "policyTypes": ["Ingress"]}), false),
        ("p", json!({"podSelector": {"matchLabels": {"a": "b"}}}), false),
        ("p", json!({"policyTypes": ["Egress", "Ingress"]}), false),
        (NETWORK, json!({"policyTypes": ["Ingress"]}), false),
        ("p", json!({"policyTypes": ["Egress"]}), true),
    ] {
        let mut world = world();
        policy(&mut world, MeshKind::Network, "team-a", name, &spec);
        let plan = mesh::plan(&world, &settings);
        assert_eq!(!plan.policies.is_empty(), expected, "{name} {spec}");
        let withheld = (!expected).then(|| (Label::parse("team-a").unwrap(), name.to_owned()));
        assert_eq!(plan.withheld.into_iter().next(), withheld);
    }
}

#[test]
fn what_is_ours_is_compared_by_all_that_is_planned() {
    let mut world = world();
    policy(&mut world, MeshKind::Peer, "istio-system", "default", &mtls(STRICT));
    let plan = mesh::plan(&world, &settings(Mode::Policies)).policies;
    assert_eq!(plan.len(), 3);
    for ((kind, space, name), planned) in &plan {
        let object = planned.object("v1");
        let mut meta = object["metadata"].clone();
        (meta["uid"], meta["resourceVersion"]) = ("u".into(), "7".into());
        let content = |meta: &Value, spec: &Value| {
            let mut world = World::default();
            policy_with(&mut world, *kind, meta, spec);
            let ours = world.mesh().policy(*kind, space, name).unwrap().ours.clone();
            ours.map(|ours| (ours.content, ours.version))
        };
        assert_eq!(content(&meta, &object["spec"]), Some((planned.content(), "7".into())), "{name}");
        assert_ne!(content(&meta, &json!({})).unwrap().0, planned.content());
        let mut other = meta.clone();
        other["labels"][PART_OF] = "somebody".into();
        assert_ne!(content(&other, &object["spec"]).unwrap().0, planned.content());
        other["labels"] = json!({PART_OF: MANAGER});
        assert_eq!(content(&other, &object["spec"]), None, "without the label it is somebody's");
        for (manager, operation, is_ours) in
            [(MANAGER, "Apply", true), (MANAGER, "Update", false), ("kubectl", "Apply", false)]
        {
            other["managedFields"] = json!([{"manager": manager, "operation": operation}]);
            let found = content(&other, &object["spec"]);
            assert_eq!(found.is_some(), is_ours, "{manager} {operation}");
            assert!(found.is_none_or(|found| found.0 != planned.content()), "its label is to be put back");
        }
    }
    assert_eq!(plan.values().filter(|planned| planned.owner.is_some()).count(), 2, "exceptions go with notebooks");
    assert!(world.notebook(&id("team-a", "ml")).is_some());
}

/// Whether Istio's `ipBlocks` take an address; written apart from the code that is tested.
fn takes(blocks: &Value, ip: IpAddr) -> bool {
    blocks.as_array().unwrap().iter().any(|block| {
        let (base, length) = block.as_str().unwrap().split_once('/').unwrap();
        match (base.parse().unwrap(), ip, length.parse::<u32>().unwrap()) {
            (IpAddr::V4(base), IpAddr::V4(ip), length) => {
                u64::from(base.to_bits()) >> (32 - length) == u64::from(ip.to_bits()) >> (32 - length)
            }
            (IpAddr::V6(base), IpAddr::V6(ip), length) => {
                (0..length).all(|bit| (base.to_bits() ^ ip.to_bits()) & (1 << (127 - bit)) == 0)
            }
            _ => false,
        }
    })
}

proptest! {
    #[test]
    fn who_is_allowed_is_not_denied_and_nobody_is_allowed_by_an_empty_list(
        gateways in prop::collection::btree_set(any::<IpAddr>(), 0..4),
        blocks in prop::collection::vec((any::<[u8; 4]>(), 8_u8..=32), 0..3),
        closed in any::<bool>(),
        stranger in any::<IpAddr>(),
    ) {
        let mut world = world();
        for (at, ip) in gateways.iter().enumerate() {
            see_gateway(&mut world, &gateway(&format!("g{at}"), &[&ip.to_string()]));
        }
        if closed {
            policy(&mut world, MeshKind::Authorization, "istio-system", "global-deny-all", &json!({}));
        }
        let blocks = blocks.into_iter().map(|(base, length)| {
            let base = u32::from_be_bytes(base) & (u32::MAX << (32 - u32::from(length)));
            Cidr::parse(&format!("{}/{length}", std::net::Ipv4Addr::from_bits(base))).unwrap()
        });
        let settings = Settings { direct: blocks.collect(), ..settings(Mode::Policies) };
        let allowed = policies::allowed(&world, &settings);
        let only_port = json!([{"operation": {"ports": ["2209"]}}]);

        let deny = planned(&world, &settings, DENY).unwrap();
        prop_assert_eq!(&deny["action"], "DENY");
        prop_assert_eq!(deny["rules"].as_array().unwrap().len(), 1);
        let rule = &deny["rules"][0];
        prop_assert_eq!(&rule["to"], &only_port);
        // Istio takes no source without a condition.
        prop_assert_eq!(rule["from"].is_null(), allowed.is_empty());
        let denies = |ip: IpAddr| rule["from"].is_null() || !takes(&rule["from"][0]["source"]["notIpBlocks"], ip);
        for ip in gateways.iter().chain([&stranger]) {
            prop_assert_eq!(denies(*ip), !allowed.iter().any(|block| block.contains(*ip)), "{}", ip);
        }
        prop_assert!(gateways.iter().all(|ip| !denies(*ip)));

        let allow = planned(&world, &settings, ALLOW);
        prop_assert_eq!(allow.is_some(), closed && !allowed.is_empty());
        if let Some(allow) = allow {
            prop_assert_eq!(&allow["rules"][0]["to"], &only_port);
            let source = allow["rules"][0]["from"][0]["source"].as_object().unwrap();
            prop_assert_eq!(source.keys().collect::<Vec<_>>(), ["ipBlocks"]);
            prop_assert!(!source["ipBlocks"].as_array().unwrap().is_empty());
            prop_assert_eq!(takes(&source["ipBlocks"], stranger), !denies(stranger));
        }
        // The same facts, the same bytes.
        let text = |plan: mesh::Plan| plan.policies.into_values().map(|it| it.object("v1").to_string()).collect::<String>();
        prop_assert_eq!(text(mesh::plan(&world, &settings)), text(mesh::plan(&world.clone(), &settings)));
    }
}
