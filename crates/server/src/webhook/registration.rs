//! Makes the API server trust the webhook: its certificate as `caBundle` in its own configuration, by name.

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cluster::is_answer;

/// The configuration's name.
pub const NAME: &str = "fairlead";

/// Writes the bundle where it is missing or another one; whether the configuration exists.
pub async fn trust(configurations: &Api<MutatingWebhookConfiguration>, bundle: &str) -> Result<bool> {
    loop {
        let found = configurations.get_opt(NAME).await.context("reading the webhook's configuration")?;
        let Some(found) = found else { return Ok(false) };
        let operations = operations(&found, bundle);
        if operations.is_empty() {
            return Ok(true);
        }
        let patch: json_patch::Patch = serde_json::from_value(Value::Array(operations)).context("making a patch")?;
        let patch = Patch::Json::<()>(patch);
        match configurations.patch(NAME, &PatchParams::default(), &patch).await {
            Ok(_) => tracing::info!(configuration = NAME, "the API server trusts the webhook's certificate"),
            // Somebody changed it meanwhile, and the patch's test failed: look again.
            Err(error) if is_answer(&error, 409) || is_answer(&error, 422) => {}
            Err(error) => return Err(error).context("writing `caBundle` into the webhook's configuration"),
        }
    }
}

/// Whether every webhook of the configuration trusts this bundle.
#[must_use]
pub fn is_trusted(configuration: &MutatingWebhookConfiguration, bundle: &str) -> bool {
    operations(configuration, bundle).is_empty()
}

fn operations(configuration: &MutatingWebhookConfiguration, bundle: &str) -> Vec<Value> {
    let bundle = ByteString(bundle.as_bytes().to_vec());
    let webhooks = configuration.webhooks.iter().flatten().enumerate();
    let wrong = webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&bundle));
    wrong
        .flat_map(|(index, webhook)| {
            let at = format!("/webhooks/{index}");
            [
                json!({"op": "test", "path": format!("{at}/name"), "value": webhook.name}),
                json!({"op": "add", "path": format!("{at}/clientConfig/caBundle"), "value": bundle}),
            ]
        })
        .collect()
}
