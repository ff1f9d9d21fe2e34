//! Is the installation whole: API server, kinds, rights, webhook, database, identity.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};

use super::{Check, Finding, policies, replicas};
use crate::cluster::{self, KubeflowKind};
use crate::identity_store::{self, IdentityStore};
use crate::rights::{Right, Scope, rights_of};
use crate::settings::Part;
use crate::store::Store;
use crate::watch::chain;
use crate::webhook::{certificate, registration};

pub(super) async fn look(check: &Check) -> Vec<Finding> {
    let mut findings = Vec::new();
    match check.client.apiserver_version().await {
        Ok(version) => {
            findings.push(Finding::ok(format!("the API server answers: Kubernetes {}", version.git_version)));
        }
        Err(error) => {
            let what = format!("the API server does not answer: {}", chain(&error));
            return vec![Finding::fail(what, "kubectl version; then look at --kubeconfig")];
        }
    }
    for kind in [cluster::NOTEBOOK, cluster::PROFILE] {
        findings.push(look_at_kind(check, kind).await);
    }
    for right in rights_of(&check.parts) {
        findings.push(look_at_right(check, right).await);
    }
    findings.push(replicas::look_at_gateways(check).await);
    if check.parts.contains(&Part::Webhook) {
        findings.push(look_at_webhook(check).await);
    }
    let store = match &check.store {
        Ok(store) => store,
        Err(error) => {
            let what = format!("the database does not open: {error:#}");
            findings.push(Finding::fail(what, "look at --database; SQLite is a file on the server's own volume"));
            return findings;
        }
    };
    findings.push(Finding::ok("the database opens"));
    // The others may read neither Secrets nor policies.
    if check.parts.contains(&Part::Operator) {
        findings.push(replicas::look_at_leader(check).await);
        findings.push(look_at_identity(check, store).await);
        findings.push(replicas::look_at_front(check).await);
        findings.extend(policies::look_at_installation(check).await);
    }
    findings
}

async fn look_at_kind(check: &Check, kind: KubeflowKind) -> Finding {
    let name = kind.kind;
    match cluster::served(&check.client, kind).await {
        Ok(Some(resource)) => Finding::ok(format!("{name}s are served as `{}`", resource.api_version)),
        Ok(None) => Finding::fail(format!("the cluster has no {name}s of kubeflow.org"), "install Kubeflow"),
        Err(error) => Finding::fail(format!("looking for {name}s: {}", chain(&error)), "kubectl api-resources"),
    }
}

/// Asks for each verb and name of a right, for whoever runs this.
async fn look_at_right(check: &Check, right: &Right) -> Finding {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(check.client.clone());
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource, None),
    };
    let names: Vec<Option<&str>> =
        if right.names.is_empty() { vec![None] } else { right.names.iter().copied().map(Some).collect() };
    let mut missing = Vec::new();
    for verb in right.verbs {
        for name in &names {
            let attributes = ResourceAttributes {
                group: Some(right.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: subresource.clone(),
                name: name.map(str::to_owned),
                namespace: (right.scope == Scope::Own).then(|| check.namespace.clone()),
                verb: Some((*verb).to_owned()),
                ..ResourceAttributes::default()
            };
            let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
            let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
            match reviews.create(&PostParams::default(), &review).await {
                Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
                Ok(_) => missing.push(*verb),
                Err(error) => {
                    let what = format!("asking for the right to {verb} {}: {}", right.resource, chain(&error));
                    return Finding::fail(what, "kubectl auth can-i --list");
                }
            }
        }
    }
    missing.dedup();
    let what = format!("{} {} ({})", right.verbs.join(", "), right.resource, right.why);
    if missing.is_empty() {
        return Finding::ok(format!("may {what}"));
    }
    let fix = "apply the manifests again, and run this in a Pod of Fairlead or with its --parts and ServiceAccount";
    Finding::fail(format!("may not {}: needed to {what}", missing.join(", ")), fix)
}

async fn look_at_webhook(check: &Check) -> Finding {
    let configurations: Api<MutatingWebhookConfiguration> = Api::all(check.client.clone());
    let secrets: Api<Secret> = Api::namespaced(check.client.clone(), &check.namespace);
    let log = format!("kubectl logs -n {} deployment/fairlead | grep webhook", check.namespace);
    let found = match configurations.get_opt(registration::NAME).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            let what = "the webhook's configuration `fairlead` is not there: no Pod gets its Secret";
            return Finding::fail(what, "apply deploy/base again");
        }
        Err(error) => return Finding::fail(format!("reading the webhook's configuration: {}", chain(&error)), log),
    };
    match secrets.get_opt(certificate::SECRET).await {
        Ok(Some(secret)) => match certificate::read(&secret) {
            Some(served) if registration::is_trusted(&found, &served.bundle) => {
                Finding::ok("the webhook is configured, and the API server trusts its certificate")
            }
            Some(_) => Finding::fail("the webhook's `caBundle` is not that of its certificate", log),
            None => Finding::fail(format!("the Secret `{}` is damaged", certificate::SECRET), log),
        },
        Ok(None) => Finding::fail("the webhook has no certificate yet: it has never run", log),
        Err(error) => Finding::fail(format!("reading the webhook's certificate: {}", chain(&error)), log),
    }
}

async fn look_at_identity(check: &Check, store: &Store) -> Finding {
    let known = match store.authority().await {
        Ok(known) => known,
        Err(error) => return Finding::fail(format!("the database: {error:#}"), "is it up?"),
    };
    let identity = IdentityStore::new(check.client.clone(), &check.namespace, store.clone()).load().await;
    let backup = format!("kubectl apply -f BACKUP-OF-{}.yaml", identity_store::SECRET);
    match (identity, known) {
        (Ok(identity), Some(known)) if !identity.public_lines().contains(&known) => {
            Finding::fail(format!("the database belongs to another host CA: `{known}`"), backup)
        }
        (Ok(identity), _) if identity.next.is_some() => Finding::warn(
            "a rotation of the host CA is under way: both lines must reach all clients",
            "fairlead-server ca show; then, when everybody has them: fairlead-server ca rotate --yes",
        ),
        (Ok(_), _) => Finding::ok("host CA and master secret are there"),
        (Err(error), None) => Finding::warn(format!("{error:#}").replace('\n', "; "), "start the server once"),
        (Err(error), Some(_)) => Finding::fail(format!("{error:#}").replace('\n', "; "), backup),
    }
}
