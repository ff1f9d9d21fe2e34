//! Whether NetworkPolicies let Fairlead reach sshd. They add up: a Pod that one selects is closed but for what any of
//! those that select it opens.

use fairlead_model::access::SSHD_PORT;
use fairlead_model::plan::{MANAGER, mesh};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::way::{Labels, Source, Sure, Verdict, in_block};

/// What the policies of a Pod's namespace say to Fairlead's Pods.
pub(super) fn judge(policies: &[NetworkPolicy], pod: &Pod, sources: &[Source]) -> Verdict {
    let selecting: Vec<&NetworkPolicy> = policies.iter().filter(|policy| applies(policy, pod)).collect();
    if selecting.is_empty() {
        return Verdict::Untouched;
    }
    let names = || selecting.iter().map(|policy| policy.name_any()).collect();
    let opened = |source: &Source| Sure::any(selecting.iter().map(|policy| opens(policy, pod, source)));
    match Sure::all(sources.iter().map(opened)) {
        Sure::Yes => Verdict::Open,
        Sure::Unknown => Verdict::Unknown(names()),
        Sure::No => Verdict::Closed(names()),
    }
}

/// Whether a policy selects the Pod and is about what comes in.
fn applies(policy: &NetworkPolicy, pod: &Pod) -> bool {
    let Some(spec) = &policy.spec else { return false };
    is_inbound(policy) && selects(spec.pod_selector.as_ref(), Some(pod.labels())) != Sure::No
}

/// Whether a policy is about what comes in.
pub(super) fn is_inbound(policy: &NetworkPolicy) -> bool {
    let types = policy.spec.as_ref().and_then(|spec| spec.policy_types.as_deref()).unwrap_or_default();
    types.is_empty() || types.iter().any(|kind| kind == "Ingress")
}

/// Whether Fairlead wrote it.
pub(super) fn is_ours(policy: &NetworkPolicy) -> bool {
    policy.name_any() == mesh::NETWORK && policy.labels().get(mesh::MANAGED_BY).is_some_and(|who| who == MANAGER)
}

fn opens(policy: &NetworkPolicy, pod: &Pod, source: &Source) -> Sure {
    let rules = policy.spec.iter().flat_map(|spec| spec.ingress.iter().flatten());
    let space = policy.namespace().unwrap_or_default();
    Sure::any(rules.map(|rule| has_port(rule, pod).min(has_peer(rule, &space, source))))
}

fn has_port(rule: &NetworkPolicyIngressRule, pod: &Pod) -> Sure {
    let ports = rule.ports.as_deref().unwrap_or_default();
    (ports.is_empty() || ports.iter().any(|port| is_sshd(port, pod))).into()
}

fn is_sshd(port: &NetworkPolicyPort, pod: &Pod) -> bool {
    let sshd = i32::from(SSHD_PORT);
    let tcp = |protocol: Option<&String>| protocol.is_none_or(|protocol| protocol == "TCP");
    tcp(port.protocol.as_ref())
        && match (&port.port, port.end_port) {
            (None, _) => true,
            (Some(IntOrString::Int(first)), last) => (*first..=last.unwrap_or(*first)).contains(&sshd),
            (Some(IntOrString::String(name)), _) => {
                let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
                let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
                ports.any(|found| {
                    found.name.as_ref() == Some(name) && found.container_port == sshd && tcp(found.protocol.as_ref())
                })
            }
        }
}

fn has_peer(rule: &NetworkPolicyIngressRule, space: &str, source: &Source) -> Sure {
    let peers = rule.from.as_deref().unwrap_or_default();
    if peers.is_empty() {
        return Sure::Yes;
    }
    Sure::any(peers.iter().map(|peer| is_source(peer, space, source)))
}

fn is_source(peer: &NetworkPolicyPeer, space: &str, source: &Source) -> Sure {
    if let Some(block) = &peer.ip_block {
        let except = block.except.iter().flatten().map(|except| in_block(source.ip, except));
        return in_block(source.ip, &block.cidr).min(Sure::any(except).not());
    }
    let of_namespace = match &peer.namespace_selector {
        Some(selector) => selects(Some(selector), source.namespace_labels.as_ref()),
        None => (space == source.namespace).into(),
    };
    of_namespace.min(selects(peer.pod_selector.as_ref(), source.labels.as_ref()))
}

/// Whether a selector takes an object with these labels; one that is absent or empty takes any.
fn selects(selector: Option<&LabelSelector>, labels: Option<&Labels>) -> Sure {
    let Some(selector) = selector else { return Sure::Yes };
    let Ok(selector) = Selector::try_from(selector.clone()) else { return Sure::Unknown };
    match labels {
        _ if selector.selects_all() => Sure::Yes,
        Some(labels) => selector.matches(labels).into(),
        None => Sure::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge_specs(specs: &[Value], sources: &[Source]) -> Verdict {
        let policies = specs.iter().enumerate().map(|(at, spec)| {
            let meta = json!({"name": format!("p{at}"), "namespace": "team-a"});
            serde_json::from_value(json!({"metadata": meta, "spec": spec})).expect("a policy")
        });
        let ports = json!([{"name": "ssh", "containerPort": 2209}, {"name": "http", "containerPort": 8888}]);
        let pod = json!({"metadata": {"labels": {"notebook-name": "ml"}},
            "spec": {"containers": [{"name": "ml", "ports": ports}]}});
        judge(&policies.collect::<Vec<_>>(), &serde_json::from_value(pod).expect("a Pod"), sources)
    }

    fn gateway(ip: &str) -> Source {
        Source {
            namespace: "fairlead-system".into(),
            namespace_labels: Some([("team".to_owned(), "infra".to_owned())].into()),
            labels: Some([("app".to_owned(), "fairlead".to_owned())].into()),
            ip: ip.parse().ok(),
        }
    }

    #[test]
    fn a_policy_opens_the_port_by_rule() {
        let from = |peer: Value| json!([{"from": [peer]}]);
        let port = |port: Value| json!([{"ports": [port]}]);
        let (yes, no, maybe) = (Verdict::Open, Verdict::Closed(vec!["p0".into()]), Verdict::Unknown(vec!["p0".into()]));
        let table = [
            (json!([]), &no),
            (json!([{}]), &yes),
            (port(json!({"port": 2209})), &yes),
            (port(json!({"port": 2209, "protocol": "UDP"})), &no),
            (port(json!({"protocol": "TCP"})), &yes),
            (port(json!({"port": 8888})), &no),
            (port(json!({"port": 2000, "endPort": 2209})), &yes),
            (port(json!({"port": 2210, "endPort": 2300})), &no),
            (port(json!({"port": "ssh"})), &yes),
            (port(json!({"port": "http"})), &no),
            (from(json!({"podSelector": {}})), &no),
            (from(json!({"namespaceSelector": {}})), &yes),
            (from(json!({"namespaceSelector": {"matchLabels": {"team": "infra"}}})), &yes),
            (from(json!({"namespaceSelector": {"matchLabels": {"team": "data"}}})), &no),
            (from(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "fairlead"}}})), &yes),
            (from(json!({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "other"}}})), &no),
            (from(json!({"ipBlock": {"cidr": "10.0.0.0/8"}})), &yes),
            (from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.2.0.0/16"]}})), &no),
            (from(json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.3.0.0/16"]}})), &yes),
            (from(json!({"ipBlock": {"cidr": "nonsense"}})), &maybe),
            (json!([{"from": [{"namespaceSelector": {}}], "ports": [{"port": 8888}]}]), &no),
        ];
        for (ingress, expected) in table {
            let spec = json!({"podSelector": {}, "ingress": ingress});
            assert_eq!(&judge_specs(&[spec], &[gateway("10.2.0.1")]), expected, "{ingress}");
        }
    }

    #[test]
    fn policies_count_that_select_the_pod_and_they_add_up() {
        let select = |requirement: Value| json!({"podSelector": {"matchExpressions": [requirement]}, "ingress": []});
        let closed = Verdict::Closed(vec!["p0".into()]);
        for (spec, expected) in [
            (json!({"podSelector": {"matchLabels": {"notebook-name": "ml"}}}), &closed),
            (json!({"podSelector": {"matchLabels": {"notebook-name": "nlp"}}}), &Verdict::Untouched),
            (select(json!({"key": "notebook-name", "operator": "Exists"})), &closed),
            (select(json!({"key": "notebook-name", "operator": "DoesNotExist"})), &Verdict::Untouched),
            (select(json!({"key": "notebook-name", "operator": "In", "values": ["ml", "x"]})), &closed),
            (select(json!({"key": "absent", "operator": "NotIn", "values": ["x"]})), &closed),
            (json!({"podSelector": {}, "policyTypes": ["Egress"]}), &Verdict::Untouched),
            (json!({"podSelector": {}, "policyTypes": ["Egress", "Ingress"]}), &closed),
        ] {
            assert_eq!(&judge_specs(std::slice::from_ref(&spec), &[gateway("10.2.0.1")]), expected, "{spec}");
        }
        let open = json!({"podSelector": {}, "ingress": [{}]});
        let shut = json!({"podSelector": {}});
        assert_eq!(judge_specs(&[shut, open], &[gateway("10.2.0.1")]), Verdict::Open);

        // Each of Fairlead's Pods has to get through.
        let one = json!({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.2.0.1/32"}}]}]});
        assert_eq!(judge_specs(std::slice::from_ref(&one), &[gateway("10.2.0.1"), gateway("10.2.0.2")]), closed);
        assert_eq!(judge_specs(&[one], &[Source::default()]), Verdict::Unknown(vec!["p0".into()]));
    }
}
