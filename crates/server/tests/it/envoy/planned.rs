//! The policies that Fairlead plans beside others', by the very functions that the operator plans by.

use std::collections::{BTreeMap, BTreeSet};

use fairlead_model::access::SSHD_PORT;
use fairlead_model::cidr::Cidr;
use fairlead_model::name::{Label, NotebookId};
use fairlead_model::plan::mesh::{Mode, Settings, plan};
use fairlead_model::read::mesh::policy;
use fairlead_model::world::{Fact, MeshFact, MeshKind, Namespace, Notebook, Profile, Switch, World};
use fairlead_model::{Person, Time};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::sidecar::{Mtls, NAMESPACE};

/// What is there after the operator has seen `others` and `gateways`: theirs and ours.
pub(super) fn with_ours(others: &[Value], gateways: &[&str], direct: &str) -> Vec<Value> {
    let label = |text: &str| Label::parse(text).unwrap();
    let mut world = World::default();
    let owner = Person::parse("ann@example.com").ok();
    world.apply(Fact::Profile(label(NAMESPACE), Some(Profile { owner: owner.clone() })));
    let namespace = Namespace { owner, ssh: Switch::Unset, created: Time(0) };
    world.apply(Fact::Namespace(label(NAMESPACE), Some(namespace)));
    let id = NotebookId { namespace: label(NAMESPACE), name: label("ml") };
    let shown = fairlead_model::world::Shown::default();
    let notebook = Notebook { uid: "ml-uid".to_owned(), stopped: false, ssh: Switch::Unset, shown };
    world.apply(Fact::Notebook(id, Some(notebook)));
    for kind in MeshKind::ALL {
        let of_kind = others.iter().filter(|object| kind_of(object) == kind);
        let facts = of_kind.filter_map(|object| {
            let meta: ObjectMeta = serde_json::from_value(object["metadata"].clone()).unwrap();
            policy(kind, &meta, object)
        });
        world.apply(MeshFact::All(kind, facts.collect()).into());
    }
    for (index, ip) in gateways.iter().enumerate() {
        let addresses: BTreeSet<_> = [ip.parse().unwrap()].into();
        world.apply(MeshFact::Gateway(format!("gateway-{index}"), addresses).into());
    }
    let direct = BTreeSet::from([Cidr::parse(direct).unwrap()]);
    let namespace = "fairlead-system".to_owned();
    let settings = Settings { mode: Mode::Policies, direct, namespace, ..Settings::default() };
    let ours: BTreeMap<_, _> = plan(&world, &settings).policies;
    others.iter().cloned().chain(ours.into_values().map(|planned| planned.object("v1"))).collect()
}

fn kind_of(object: &Value) -> MeshKind {
    match object["kind"].as_str() {
        Some("PeerAuthentication") => MeshKind::Peer,
        _ => MeshKind::Authorization,
    }
}

/// Mutual TLS of the notebook's ports but sshd's, and of sshd's: of what selects its Pod, else of what is for the whole
/// namespace, else of what is for the whole mesh (`pilot/pkg/security/authn/policy_applier.go` of istio/istio).
pub(super) fn mtls(policies: &[Value]) -> [Mtls; 2] {
    let port = SSHD_PORT.to_string();
    let peers = || policies.iter().filter(|object| kind_of(object) == MeshKind::Peer);
    let here = |object: &&Value, namespace: &str| object["metadata"]["namespace"] == namespace;
    let own = peers().find(|object| object["spec"]["selector"]["matchLabels"]["notebook-name"] == "ml");
    let whole = |namespace: &str| {
        let mut of = peers().filter(|object| here(object, namespace));
        of.find(|object| object["spec"]["selector"].is_null())
    };
    let mode = |object: Option<&Value>| mode(&object?["spec"]["mtls"]["mode"]);
    let all = mode(own).or_else(|| mode(whole(NAMESPACE))).or_else(|| mode(whole("istio-system")));
    let all = all.unwrap_or(Mtls::Permissive);
    let ssh = own.and_then(|own| self::mode(&own["spec"]["portLevelMtls"][port]["mode"]));
    [all, ssh.unwrap_or(all)]
}

fn mode(word: &Value) -> Option<Mtls> {
    match word.as_str()? {
        "PERMISSIVE" => Some(Mtls::Permissive),
        "STRICT" => Some(Mtls::Strict),
        "DISABLE" => Some(Mtls::Disable),
        "UNSET" => None,
        other => panic!("no translation of {other}"),
    }
}
