//! Who leads, what gateways without rights to Secrets live by, and how many gateways there are.

use std::time::Duration;

use fairlead_model::gateway_identity;
use fairlead_model::plan::MANAGER;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use tokio::time::sleep;

use super::{Check, Finding};
use crate::lease::{DURATION, LEASE};
use crate::watch::chain;

/// Every Pod that dials notebooks has the first; an operator's does so only to see whether an sshd is there.
const GATEWAYS: &str = "fairlead.dev/gateway=true,app.kubernetes.io/component!=operator";

/// Whether somebody leads: a record that changes is held, whatever the clocks say.
pub(super) async fn look_at_leader(check: &Check) -> Finding {
    let leases: Api<Lease> = Api::namespaced(check.client.clone(), &check.namespace);
    let nobody = format!("kubectl logs -n {} -l app.kubernetes.io/name=fairlead --prefix", check.namespace);
    let first = match leases.get_opt(LEASE).await {
        Ok(Some(lease)) => lease,
        Ok(None) => return Finding::warn("no operator has ever led: there is no Lease", nobody),
        Err(error) => return Finding::fail(format!("reading the Lease `{LEASE}`: {}", chain(&error)), nobody),
    };
    let Some(holder) = holder(&first) else {
        return Finding::fail("no operator leads: keys reach no notebook", nobody);
    };
    let renewed = first.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    let ago = renewed.map_or(i64::MAX, |at| (check.now)().0.saturating_sub(at.0.as_millisecond()));
    let words = format!(
        "`{holder}` leads, and renewed that {:.1} s ago",
        Duration::from_millis(ago.unsigned_abs()).as_secs_f64()
    );
    if (0..=i64::try_from(DURATION.as_millis()).unwrap_or(0)).contains(&ago) {
        return Finding::ok(words);
    }
    // Its clock may be another one.
    sleep(DURATION).await;
    match leases.get_opt(LEASE).await {
        Ok(Some(now)) if now.spec != first.spec => Finding::warn(
            format!("`{holder}` leads, by a clock that differs from this one by about {} s", ago.unsigned_abs() / 1000),
            "timedatectl, on both nodes: certificates count by clocks",
        ),
        _ => Finding::fail(format!("{words}: no operator leads, and keys reach no notebook"), nobody),
    }
}

/// Whether gateways that may read no Secret get one as files.
pub(super) async fn look_at_front(check: &Check) -> Finding {
    let (namespace, name) = (&check.namespace, gateway_identity::SECRET);
    let secrets: Api<Secret> = Api::namespaced(check.client.clone(), namespace);
    match secrets.get_metadata_opt(name).await {
        Ok(Some(secret)) if secret.labels().get("app.kubernetes.io/managed-by").is_some_and(|by| by == MANAGER) => {
            Finding::ok(format!("the gateways' Secret `{name}` is there"))
        }
        Ok(Some(_)) => Finding::fail(
            format!("the Secret `{name}` is there and Fairlead did not make it: gateways get no host key"),
            format!("kubectl delete secret -n {namespace} {name}"),
        ),
        Ok(None) => Finding::warn(
            format!("the gateways' Secret `{name}` is not there yet"),
            "start the server once: whoever leads makes it",
        ),
        Err(error) => Finding::fail(
            format!("reading the Secret `{name}`: {}", chain(&error)),
            "see the rights above that are missing",
        ),
    }
}

/// How many Pods let people in.
pub(super) async fn look_at_gateways(check: &Check) -> Finding {
    let pods: Api<Pod> = Api::namespaced(check.client.clone(), &check.namespace);
    let fix = format!("kubectl get pods -n {} -l {GATEWAYS}", check.namespace);
    let listed = match pods.list(&ListParams::default().labels(GATEWAYS)).await {
        Ok(listed) => listed.items,
        Err(error) => return Finding::fail(format!("listing the gateways' Pods: {}", chain(&error)), fix),
    };
    let ready = listed.iter().filter(|pod| is_ready(pod)).count();
    match (ready, listed.len()) {
        (0, 0) => Finding::warn("no Pod here is a gateway", format!("{fix}: the label is in deploy/base")),
        (ready, all) if ready == all => Finding::ok(format!("gateways: {all}, all of them ready")),
        (0, all) => Finding::fail(format!("gateways: {all}, none of them ready"), fix),
        (ready, all) => Finding::warn(format!("gateways: {all}, of which {ready} ready"), fix),
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
