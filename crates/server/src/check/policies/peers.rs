//! Whether Istio's PeerAuthentications make a sidecar refuse plain connections to sshd, as all of Fairlead's are. The
//! narrowest level that says something counts, and of several policies on one level the oldest alone.

use std::collections::BTreeMap;

use fairlead_model::access::SSHD_PORT;
use serde::Deserialize;

use super::mesh::{ROOT, Ruled, Workload};
use super::way::Labels;

/// What is read of a PeerAuthentication.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    selector: Workload,
    mtls: Mtls,
    port_level_mtls: BTreeMap<String, Mtls>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Mtls {
    mode: Option<String>,
}

/// Sidecars take nothing but the mesh's own TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Strict {
    /// The policy that says so.
    pub(super) by: String,
    /// The name of the one policy of the Pod itself: an exception has its place there, since a second would not count.
    pub(super) of_pod: Option<String>,
}

impl Mtls {
    fn said(&self) -> Option<&str> {
        self.mode.as_deref().filter(|mode| *mode != "UNSET")
    }
}

/// Whether policies make the sidecar of a Pod in `namespace`, with these labels, strict about sshd's port.
pub(super) fn judge(policies: &[Ruled<Spec>], namespace: &str, labels: &Labels) -> Option<Strict> {
    let oldest = |level: &dyn Fn(&Ruled<Spec>) -> bool| {
        policies.iter().filter(|policy| level(policy)).min_by_key(|policy| (policy.made, policy.full_name()))
    };
    let mesh = oldest(&|policy| policy.namespace == ROOT && policy.spec.selector.is_any());
    let own = |policy: &Ruled<Spec>| policy.namespace == namespace && namespace != ROOT;
    let space = oldest(&|policy| own(policy) && policy.spec.selector.is_any());
    let pod = oldest(&|policy| own(policy) && !policy.spec.selector.is_any() && policy.spec.selector.takes(labels));
    let port =
        |policy: &Ruled<Spec>| policy.spec.port_level_mtls.get(&SSHD_PORT.to_string())?.said().map(str::to_owned);
    let whole = |policy: &Ruled<Spec>| policy.spec.mtls.said().map(str::to_owned);
    // `portLevelMtls` counts only below a selector.
    let levels = [(pod, &port as &dyn Fn(&_) -> _), (pod, &whole), (space, &whole), (mesh, &whole)];
    let (policy, mode) = levels.into_iter().find_map(|(policy, said)| Some((policy?, said(policy?)?)))?;
    (mode == "STRICT").then(|| Strict { by: policy.full_name(), of_pod: pod.map(|policy| policy.name.clone()) })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn policy(namespace: &str, name: &str, age: i64, spec: &Value) -> Ruled<Spec> {
        let spec = serde_json::from_value(spec.clone()).expect("a spec");
        let made = jiff::Timestamp::from_second(1_000_000 - age).ok();
        Ruled { namespace: namespace.into(), name: name.into(), made, dry_run: false, spec }
    }

    #[test]
    fn the_narrowest_level_that_says_something_counts() {
        let strict = json!({"mtls": {"mode": "STRICT"}});
        let loose = json!({"mtls": {"mode": "PERMISSIVE"}});
        let unset = json!({"mtls": {"mode": "UNSET"}});
        let selector = json!({"matchLabels": {"notebook-name": "ml"}});
        let of_pod =
            |mode: &str, ports: Value| json!({"selector": selector, "mtls": {"mode": mode}, "portLevelMtls": ports});
        let exception = json!({"2209": {"mode": "PERMISSIVE"}});
        let other = json!({"selector": {"matchLabels": {"notebook-name": "nlp"}}, "mtls": {"mode": "STRICT"}});
        let without_selector = json!({"mtls": {"mode": "STRICT"}, "portLevelMtls": exception});
        let (root, own) = (("istio-system", 9), ("team-a", 5));
        for (policies, expected) in [
            (vec![], None),
            (vec![(root, &strict)], Some(("istio-system/p0", None))),
            (vec![(root, &without_selector)], Some(("istio-system/p0", None))),
            (vec![(root, &strict), (own, &loose)], None),
            (vec![(root, &strict), (own, &unset)], Some(("istio-system/p0", None))),
            (vec![(own, &without_selector)], Some(("team-a/p0", None))),
            (vec![(("team-b", 5), &strict)], None),
            (vec![(own, &other)], None),
            // A selector in the root namespace takes no Pod of another.
            (vec![(root, &of_pod("STRICT", json!({})))], None),
            (vec![(own, &of_pod("STRICT", json!({})))], Some(("team-a/p0", Some("p0")))),
            (vec![(own, &of_pod("STRICT", exception.clone()))], None),
            (vec![(root, &strict), (own, &of_pod("UNSET", exception.clone()))], None),
            (vec![(root, &strict), (own, &of_pod("UNSET", json!({})))], Some(("istio-system/p0", Some("p1")))),
            (vec![(own, &of_pod("PERMISSIVE", json!({"2209": {"mode": "STRICT"}})))], Some(("team-a/p0", Some("p0")))),
            (vec![(own, &of_pod("STRICT", json!({"8888": {"mode": "PERMISSIVE"}})))], Some(("team-a/p0", Some("p0")))),
            // The exception came second, and does not count.
            (
                vec![(own, &of_pod("STRICT", json!({}))), (("team-a", 4), &of_pod("UNSET", exception.clone()))],
                Some(("team-a/p0", Some("p0"))),
            ),
        ] {
            let of = |(at, ((namespace, age), spec)): (usize, ((&str, i64), &Value))| {
                policy(namespace, &format!("p{at}"), age, spec)
            };
            let built: Vec<_> = policies.iter().copied().enumerate().map(of).collect();
            let labels = [("notebook-name".to_owned(), "ml".to_owned())].into();
            let expected = expected.map(|(by, of_pod): (&str, Option<&str>)| Strict {
                by: by.to_owned(),
                of_pod: of_pod.map(str::to_owned),
            });
            assert_eq!(judge(&built, "team-a", &labels), expected, "{policies:?}");
        }
    }
}
