//! A stand-in for kube-proxy, for sets of binaries that have none: ClusterIPs become addresses of endpoints.
//!
//! Small and slow on purpose: TCP only, the first ready endpoint, looked at twice a second.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};

use crate::node::Node;
use crate::paths;

const CHAIN: &str = "FAIRLEAD-LAB";

/// Keeps the node's rules as the Services say, until dropped.
pub async fn run(client: Client) -> Result<()> {
    let services: Api<Service> = Api::all(client.clone());
    let slices: Api<EndpointSlice> = Api::all(client);
    let mut written = String::new();
    loop {
        let all = ListParams::default();
        let (services, slices) = tokio::join!(services.list(&all), slices.list(&all));
        match (services, slices) {
            (Ok(services), Ok(slices)) => {
                let rules = rules(&services.items, &slices.items);
                if rules != written {
                    write(&rules)?;
                    written = rules;
                }
            }
            (Err(error), _) | (_, Err(error)) => tracing::warn!("reading Services: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The text for `iptables-restore --noflush`: one rule for each port of each Service that has an endpoint.
fn rules(services: &[Service], slices: &[EndpointSlice]) -> String {
    let mut targets: BTreeMap<(String, String, Option<String>), (String, i32)> = BTreeMap::new();
    for slice in slices {
        let labels = slice.labels();
        let Some(service) = labels.get("kubernetes.io/service-name") else {
            continue;
        };
        let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
            e.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
        };
        let Some(address) = slice.endpoints.iter().flatten().find(ready).and_then(|e| e.addresses.first()) else {
            continue;
        };
        for port in slice.ports.iter().flatten() {
            if let Some(number) = port.port {
                let name = port.name.clone().filter(|name| !name.is_empty());
                let key = (slice.namespace().unwrap_or_default(), service.clone(), name);
                targets.entry(key).or_insert((address.clone(), number));
            }
        }
    }
    let mut text = format!("*nat\n:{CHAIN} - [0:0]\n");
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
            continue;
        };
        for port in spec.ports.iter().flatten() {
            let name = port.name.clone().filter(|name| !name.is_empty());
            let key = (service.namespace().unwrap_or_default(), service.name_any(), name);
            if let Some((address, number)) = targets.get(&key) {
                let _ = writeln!(
                    text,
                    "-A {CHAIN} -d {ip}/32 -p tcp --dport {} -j DNAT --to-destination {address}:{number}",
                    port.port
                );
            }
        }
    }
    text + "COMMIT\n"
}

fn write(rules: &str) -> Result<()> {
    let node = Node::of(&paths::cluster()).context("the cluster is not running")?;
    let hook = ["PREROUTING", "OUTPUT"].map(|hook| {
        format!("iptables -w -t nat -C {hook} -j {CHAIN} 2>/dev/null || iptables -w -t nat -A {hook} -j {CHAIN}\n")
    });
    let mut command = node.inside(std::process::Command::new("iptables-restore").args(["-w", "--noflush"]));
    let mut child = command.stdin(Stdio::piped()).spawn().context("starting iptables-restore")?;
    let mut stdin = child.stdin.take().context("writing rules")?;
    stdin.write_all(rules.as_bytes()).context("writing rules")?;
    drop(stdin);
    if !child.wait().context("waiting for iptables-restore")?.success() {
        bail!("iptables-restore refused:\n{rules}");
    }
    let marked = "iptables -w -t nat -C POSTROUTING -s 10.244.0.0/24 -d 10.244.0.0/24 -m conntrack --ctstate DNAT \
                  -j MASQUERADE 2>/dev/null || iptables -w -t nat -A POSTROUTING -s 10.244.0.0/24 -d 10.244.0.0/24 \
                  -m conntrack --ctstate DNAT -j MASQUERADE\n";
    node.script("hooking the rules in", &(hook.concat() + marked)).map(drop)
}
