//! The kinds of Kubeflow and Istio that Fairlead meets, taught to the lab's API server.
//!
//! The project ships small definitions of its own, which keep every field and check none. Where the
//! real ones are at hand, they are taken instead, so that what Fairlead writes meets the real schemas.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams},
};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// Every kind the lab knows: the name of its definition, and the project's own text of it.
const OWN: [(&str, &str); 4] = [
    ("notebooks.kubeflow.org", include_str!("../../../lab/crds/notebooks.kubeflow.org.yaml")),
    ("profiles.kubeflow.org", include_str!("../../../lab/crds/profiles.kubeflow.org.yaml")),
    (
        "authorizationpolicies.security.istio.io",
        include_str!("../../../lab/crds/authorizationpolicies.security.istio.io.yaml"),
    ),
    (
        "peerauthentications.security.istio.io",
        include_str!("../../../lab/crds/peerauthentications.security.istio.io.yaml"),
    ),
];

/// How long one kind may take from being applied to being listable.
const PATIENCE: Duration = Duration::from_mins(1);

/// Installs the definitions of Notebook, Profile, `AuthorizationPolicy` and `PeerAuthentication`, and
/// returns when all their versions can be listed.
///
/// They come from the directory in `FAIRLEAD_CRDS`, else from `../shared/crds` beside the workspace
/// if that exists, else they are the project's own. A kind such a directory lacks is the project's
/// own, too. Applying again what is there already changes nothing.
pub async fn install(client: &Client) -> anyhow::Result<()> {
    let real = match directory() {
        Some(directory) => read(&directory)?,
        None => Vec::new(),
    };
    let mut applied = Vec::new();
    for (name, own) in OWN {
        let definition = match real.iter().find(|found| named(found, name)) {
            Some(found) => found.clone(),
            None => parse(own).with_context(|| format!("reading the project's own CRD `{name}`"))?,
        };
        apply(client, name, &definition).await?;
        applied.push((name, definition));
    }
    for (name, definition) in &applied {
        let patience = tokio::time::timeout(PATIENCE, served(client, name, definition));
        patience.await.with_context(|| format!("CRD `{name}` was not served in time"))??;
    }
    Ok(())
}

fn directory() -> Option<PathBuf> {
    if let Some(named) = env::var_os("FAIRLEAD_CRDS") {
        return Some(named.into());
    }
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/crds");
    shared.is_dir().then_some(shared)
}

/// The definitions of the lab's kinds among a directory's YAML files, one definition per file.
fn read(directory: &Path) -> anyhow::Result<Vec<Value>> {
    let entries = fs::read_dir(directory).with_context(|| format!("listing CRDs in `{}`", directory.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| format!("listing `{}`", directory.display()))?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading CRD `{}`", path.display()))?;
        // A look at the text first: the kinds the lab does not need are a megabyte of YAML.
        if !OWN.iter().any(|(name, _)| text.contains(&format!("name: {name}\n"))) {
            continue;
        }
        found.push(parse(&text).with_context(|| format!("parsing CRD `{}`", path.display()))?);
    }
    Ok(found)
}

fn parse(text: &str) -> anyhow::Result<Value> {
    let definition: Value = serde_saphyr::from_str(text)?;
    ensure!(
        definition["kind"] == "CustomResourceDefinition",
        "this is a `{}`, not a `CustomResourceDefinition`",
        definition["kind"]
    );
    Ok(definition)
}

fn named(definition: &Value, name: &str) -> bool {
    definition["metadata"]["name"] == name
}

async fn apply(client: &Client, name: &str, definition: &Value) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let manager = PatchParams::apply("fairlead-lab").force();
    let applied = api.patch(name, &manager, &Patch::Apply(definition)).await;
    applied.with_context(|| format!("applying CRD `{name}`"))?;
    Ok(())
}

/// Waits until the definition is established and each of its versions answers a list: for a while
/// after `Established` a server still says 404 or 503.
async fn served(client: &Client, name: &str, definition: &Value) -> anyhow::Result<()> {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let start = Instant::now();
    loop {
        let found = api.get(name).await.with_context(|| format!("reading CRD `{name}`"))?;
        if established(&found) {
            break;
        }
        pause().await;
    }
    for resource in resources(definition)? {
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        loop {
            match api.list_metadata(&ListParams::default().limit(1)).await {
                Ok(_) => break,
                Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 429 | 503) => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("listing `{name}` {}", resource.version));
                }
            }
            pause().await;
        }
    }
    let waited_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(crd = name, waited_ms, "custom resource is served");
    Ok(())
}

async fn pause() {
    sleep(Duration::from_millis(100)).await;
}

fn established(definition: &CustomResourceDefinition) -> bool {
    let conditions = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|found| found.type_ == "Established" && found.status == "True")
}

/// One resource for each served version.
fn resources(definition: &Value) -> anyhow::Result<Vec<ApiResource>> {
    let spec = &definition["spec"];
    let text = |value: &Value, what: &str| -> anyhow::Result<String> {
        Ok(value.as_str().with_context(|| format!("the CRD has no {what}"))?.to_owned())
    };
    let group = text(&spec["group"], "group")?;
    let kind = text(&spec["names"]["kind"], "kind")?;
    let plural = text(&spec["names"]["plural"], "plural")?;
    let mut resources = Vec::new();
    for version in spec["versions"].as_array().into_iter().flatten() {
        if version["served"] == true {
            let gvk = GroupVersionKind::gvk(&group, &text(&version["name"], "version")?, &kind);
            resources.push(ApiResource::from_gvk_with_plural(&gvk, &plural));
        }
    }
    if resources.is_empty() {
        bail!("the CRD serves no version");
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_definitions_serve_the_versions_upstream_serves() {
        let expected = [
            ("notebooks.kubeflow.org", vec!["v1", "v1beta1", "v1alpha1"]),
            ("profiles.kubeflow.org", vec!["v1", "v1beta1"]),
            ("authorizationpolicies.security.istio.io", vec!["v1", "v1beta1"]),
            ("peerauthentications.security.istio.io", vec!["v1", "v1beta1"]),
        ];
        for ((name, own), (expected_name, versions)) in OWN.into_iter().zip(expected) {
            let definition = parse(own).expect("own CRD parses");
            assert_eq!(name, expected_name);
            assert!(named(&definition, name));
            let resources = resources(&definition).expect("own CRD serves versions");
            let served: Vec<_> = resources.iter().map(|found| found.version.as_str()).collect();
            assert_eq!(served, versions, "{name}");
            assert_eq!(definition["spec"]["versions"][0]["storage"], true, "{name} stores v1");
        }
    }
}
