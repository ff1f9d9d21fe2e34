//! A Pod's sidecar as Istio sets it up, in a real Envoy: which bytes it waits for, whom it takes for whom, and the policies.
//!
//! By `pilot/pkg/networking/core/listener_inbound.go` of istio/istio. Where iptables would lead every port into one listener,
//! each Pod here has a loopback address of its own, and its sidecar listens there.

use serde_json::{Value, json};

use super::istio::{Protocol, rules};
use super::people::Certificates;

/// Mutual TLS of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mtls {
    /// What everybody gets who sets nothing: with or without.
    Permissive,
    /// With it alone.
    Strict,
    /// Without it alone.
    Disable,
}

/// A Pod with a sidecar: 2209 is an sshd's, 8888 Jupyter's.
#[derive(Debug, Clone)]
pub(super) struct Pod {
    /// Its address.
    pub(super) ip: String,
    /// All policies of the cluster.
    pub(super) policies: Vec<Value>,
    /// Mutual TLS of its ports but 2209.
    pub(super) mtls: Mtls,
    /// Of 2209.
    pub(super) ssh_mtls: Mtls,
    /// Whether a Service that selects it lists 2209 as `tcp-…`.
    pub(super) listed: bool,
    /// `protocolDetectionTimeout` of the mesh. What Istio ships is `0s`: for ever.
    pub(super) patience: &'static str,
}

/// The namespace of all of them.
pub(super) const NAMESPACE: &str = "team-a";

/// Envoy's configuration: two listeners a Pod; `ssh` and `web` are the ports of what is behind, on 127.0.0.1.
pub(super) fn configuration(pods: &[Pod], ssh: u16, web: u16, identity: &Certificates) -> Value {
    let listeners = pods.iter().flat_map(|pod| [listener(pod, 2209, identity), listener(pod, 8888, identity)]);
    let cluster = |name: &str, port: u16| {
        let endpoint = json!({"endpoint": {"address": address("127.0.0.1", port)}});
        json!({"name": name, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}})
    };
    json!({"static_resources": {
        "listeners": listeners.collect::<Vec<_>>(),
        "clusters": [cluster("ssh", ssh), cluster("web", web)],
    }})
}

/// Filters that look at a connection's first bytes are there when one of the chains asks for what they find
/// (`populateListenerFilters`), and they wait for those bytes.
fn listener(pod: &Pod, port: u16, identity: &Certificates) -> Value {
    let (mtls, chains) = match port {
        2209 if pod.listed => (pod.ssh_mtls, vec![Protocol::Tcp]),
        // What no Service lists may be anything: the chains for it ask for HTTP first (`buildInboundPassthroughChains`).
        2209 => (pod.ssh_mtls, vec![Protocol::Http, Protocol::Tcp]),
        _ => (pod.mtls, vec![Protocol::Http]),
    };
    let mut inspectors = vec![];
    let inspector = |name: &str, kind: &str| json!({"name": name, "typed_config": typed(&format!("filters.listener.{name}.v3.{kind}"), json!({}))});
    if mtls != Mtls::Disable {
        inspectors.push(inspector("tls_inspector", "TlsInspector"));
    }
    if chains.len() > 1 {
        inspectors.push(inspector("http_inspector", "HttpInspector"));
    }
    let guessed = chains.len() > 1;
    let chains = chains.into_iter().flat_map(|protocol| {
        let with = (mtls != Mtls::Disable).then(|| chain(pod, port, protocol, guessed, Some(identity)));
        let without = (mtls != Mtls::Strict).then(|| chain(pod, port, protocol, guessed, None));
        [with, without].into_iter().flatten()
    });
    json!({
        "name": format!("{}:{port}", pod.ip),
        "address": address(&pod.ip, port),
        "listener_filters": inspectors,
        "listener_filters_timeout": pod.patience,
        "continue_on_listener_filters_timeout": true,
        "filter_chains": chains.collect::<Vec<_>>(),
    })
}

/// What becomes of the connections of one kind: by their first bytes, if the protocol is `guessed`.
fn chain(pod: &Pod, port: u16, protocol: Protocol, guessed: bool, mtls: Option<&Certificates>) -> Value {
    let labels = json!({"notebook-name": "ml", "statefulset": "ml"});
    let rules = rules(&pod.policies, NAMESPACE, &labels, protocol);
    let mut filters = vec![];
    let mut matched = json!({"transport_protocol": if mtls.is_some() { "tls" } else { "raw_buffer" }});
    match protocol {
        Protocol::Tcp => {
            let rbac = rules.into_iter().map(|rules| json!({"rules": rules, "stat_prefix": "tcp."}));
            filters.extend(rbac.map(|filter| named("rbac", "filters.network.rbac.v3.RBAC", filter)));
            let proxy = json!({"stat_prefix": "inbound", "cluster": if port == 2209 { "ssh" } else { "web" }});
            filters.push(named("tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy", proxy));
        }
        Protocol::Http => {
            if guessed {
                let alpn = if mtls.is_some() { ["istio-http/1.1"] } else { ["http/1.1"] };
                matched["application_protocols"] = json!(alpn);
            }
            filters.push(requests(port, rules));
        }
    }
    let mut chain = json!({"filter_chain_match": matched, "filters": filters});
    if let Some(identity) = mtls {
        chain["transport_socket"] = named("tls", "transport_sockets.tls.v3.DownstreamTlsContext", identity.required());
    }
    chain
}

/// The filter that reads requests, with the policies before what answers.
fn requests(port: u16, rules: Vec<Value>) -> Value {
    let rbac = rules.into_iter().map(|rules| named("rbac", "filters.http.rbac.v3.RBAC", json!({"rules": rules})));
    let mut filters: Vec<_> = rbac.collect();
    filters.push(named("router", "filters.http.router.v3.Router", json!({})));
    let cluster = if port == 2209 { "ssh" } else { "web" };
    let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
    let host = json!({"name": "all", "domains": ["*"], "routes": [route]});
    let manager = json!({"stat_prefix": "inbound", "http_filters": filters, "route_config": {"virtual_hosts": [host]}});
    named("http", "filters.network.http_connection_manager.v3.HttpConnectionManager", manager)
}

fn address(ip: &str, port: u16) -> Value {
    json!({"socket_address": {"address": ip, "port_value": port}})
}

fn named(name: &str, kind: &str, content: Value) -> Value {
    json!({"name": name, "typed_config": typed(kind, content)})
}

fn typed(kind: &str, mut content: Value) -> Value {
    content["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{kind}"));
    content
}
