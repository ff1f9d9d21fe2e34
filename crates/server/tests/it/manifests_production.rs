//! What the two Deployments of production are given, and what they are not.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::manifests::{WAYS, installed, one, shipped};

const OPERATOR: &str = "fairlead-operator";
const FRONT: &str = "fairlead-front";

fn pod(all: &[Value], deployment: &str) -> Value {
    one(all, "Deployment", deployment)["spec"]["template"].clone()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> impl Iterator<Item = &'a Value> {
    all.iter().filter(move |one| one["kind"] == kind)
}

/// Whether `matchLabels`, or a Service's selector, takes a Pod with these labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().into_iter().flatten().all(|(label, value)| labels[label] == *value)
}

fn ports(pod: &Value) -> &[Value] {
    pod["spec"]["containers"][0]["ports"].as_array().unwrap()
}

#[test]
fn every_service_leads_to_all_pods_that_listen_and_to_no_other() {
    for all in
        [shipped("base"), shipped("overlays/production")].into_iter().chain(WAYS.iter().map(|way| installed(way).0))
    {
        let pods: Vec<&Value> = of_kind(&all, "Deployment").map(|one| &one["spec"]["template"]).collect();
        for service in of_kind(&all, "Service") {
            let name = &service["spec"]["ports"][0]["targetPort"];
            let listens = |pod: &&Value| ports(pod).iter().any(|port| port["name"] == *name);
            let listening: Vec<&Value> = pods.iter().copied().filter(listens).collect();
            let chosen = pods.iter().filter(|pod| selects(&service["spec"]["selector"], &pod["metadata"]["labels"]));
            assert_eq!(chosen.copied().collect::<Vec<_>>(), listening, "{service}");
            assert_eq!(listening.len(), 1, "{service}");
        }
    }
}

#[test]
fn the_front_holds_no_secret_of_the_operator_and_writes_nothing() {
    for all in [shipped("overlays/production")].into_iter().chain(WAYS[3..].iter().map(|way| installed(way).0)) {
        let front = pod(&all, FRONT);
        let words = front.to_string();
        for secret in ["fairlead-identity", "fairlead-webhook", "FAIRLEAD_IDENTITY_FILES"] {
            assert!(!words.contains(secret), "{secret} in {words}");
        }
        let account = front["spec"]["serviceAccountName"].as_str().unwrap();
        let bound = |one: &&Value| one["subjects"].as_array().unwrap().iter().any(|subject| subject["name"] == account);
        assert_eq!(of_kind(&all, "RoleBinding").filter(bound).count(), 0);
        let bindings: Vec<&Value> = of_kind(&all, "ClusterRoleBinding").filter(bound).collect();
        assert_eq!(bindings.len(), 1);
        let role = one(&all, "ClusterRole", bindings[0]["roleRef"]["name"].as_str().unwrap());
        for rule in role["rules"].as_array().unwrap() {
            assert_eq!(rule["verbs"], json!(["list", "watch"]));
            let secret = |resource: &Value| ["secrets", "*"].contains(&resource.as_str().unwrap());
            assert!(!rule["resources"].as_array().unwrap().iter().any(secret), "{rule}");
        }
        assert_ne!(pod(&all, OPERATOR)["spec"]["serviceAccountName"], account);
        assert_eq!(of_kind(&all, "PersistentVolumeClaim").count(), 0);
    }
}

#[test]
fn a_node_or_a_pod_may_go_and_the_other_stays() {
    let all = shipped("overlays/production");
    for name in [OPERATOR, FRONT] {
        let deployment = &one(&all, "Deployment", name)["spec"];
        let labels = &deployment["template"]["metadata"]["labels"];
        assert!(deployment["replicas"].as_u64() >= Some(2), "{name}");
        assert_eq!(deployment["strategy"]["rollingUpdate"]["maxUnavailable"], 0, "{name}");
        let budget = &one(&all, "PodDisruptionBudget", name)["spec"];
        assert_eq!((&budget["minAvailable"], &budget["selector"]), (&json!(1), &deployment["selector"]));
        let spec = &deployment["template"]["spec"];
        let apart = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(apart["podAffinityTerm"]["topologyKey"], "kubernetes.io/hostname");
        for term in [&apart["podAffinityTerm"], &spec["topologySpreadConstraints"][0]] {
            assert_eq!(term["labelSelector"], deployment["selector"], "{name}");
        }
        assert!(selects(&deployment["selector"]["matchLabels"], labels), "{name}");
        // A Pod has the token that it asks for, and no other Pod of the account has one.
        let account = one(&all, "ServiceAccount", spec["serviceAccountName"].as_str().unwrap());
        assert_eq!(
            (&account["automountServiceAccountToken"], &spec["automountServiceAccountToken"]),
            (&json!(false), &json!(true))
        );
    }
    let front = pod(&all, FRONT);
    let variables = front["spec"]["containers"][0]["env"].as_array().unwrap();
    let drain = variables.iter().find(|one| one["name"] == "FAIRLEAD_GATEWAY_DRAIN_SECONDS").unwrap();
    let drain: u64 = drain["value"].as_str().unwrap().parse().unwrap();
    assert!(
        front["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() > drain,
        "killed while sessions may go on"
    );
    let gateway = &one(&all, "Service", "fairlead-gateway")["spec"];
    assert_eq!((&gateway["type"], &gateway["externalTrafficPolicy"]), (&json!("LoadBalancer"), &json!("Local")));
}

/// Whether a NetworkPolicy is about a Pod with these labels.
fn is_about(policy: &Value, labels: &Value) -> bool {
    let selector = &policy["spec"]["podSelector"];
    let mut expressions = selector["matchExpressions"].as_array().into_iter().flatten();
    selects(&selector["matchLabels"], labels)
        && expressions.all(|one| {
            assert_eq!(one["operator"], "In");
            one["values"].as_array().unwrap().contains(&labels[one["key"].as_str().unwrap()])
        })
}

#[test]
fn network_policies_together_open_each_port_of_a_pod_for_whom_it_is_and_nobody_else() {
    let cluster = json!([{"namespaceSelector": {}}]);
    let ingress = json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "istio-system"}},
        "podSelector": {"matchLabels": {"app": "istio-ingressgateway"}}}]);
    for way in &WAYS {
        let (all, _) = installed(way);
        if way.components.contains(&"network-policies") {
            let closed = &one(&all, "NetworkPolicy", "fairlead-closed")["spec"];
            assert_eq!(*closed, json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
        }
        for deployment in of_kind(&all, "Deployment") {
            let pod = &deployment["spec"]["template"];
            let about: Vec<&Value> =
                of_kind(&all, "NetworkPolicy").filter(|one| is_about(one, &pod["metadata"]["labels"])).collect();
            if about.is_empty() {
                continue;
            }
            let rules = about.into_iter().flat_map(|one| one["spec"]["ingress"].as_array().into_iter().flatten());
            let rules: Vec<&Value> = rules.collect();
            for port in ports(pod) {
                let takes = |rule: &&&Value| {
                    rule["ports"].as_array().unwrap().iter().any(|one| one["port"] == port["containerPort"])
                };
                let from: BTreeSet<String> = rules.iter().filter(takes).map(|rule| rule["from"].to_string()).collect();
                let expected = match port["name"].as_str().unwrap() {
                    "http-metrics" => &cluster,
                    "http-page" => &ingress,
                    _ => &Value::Null,
                };
                assert_eq!(from, [expected.to_string()].into(), "{port} of {}", deployment["metadata"]);
            }
            // A rule without ports is for all of them.
            assert!(rules.iter().all(|rule| rule["ports"].as_array().is_some_and(|ports| !ports.is_empty())));
        }
    }
}

#[test]
fn who_dials_notebooks_has_the_label_by_which_policies_let_it_in() {
    for all in [shipped("base"), shipped("overlays/production")] {
        for deployment in of_kind(&all, "Deployment") {
            let labels = &deployment["spec"]["template"]["metadata"]["labels"];
            assert_eq!(labels["fairlead.dev/gateway"], "true", "{}", deployment["metadata"]);
        }
    }
}
