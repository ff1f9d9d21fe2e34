//! Which objects should exist in the cluster, byte for byte.

pub mod mesh;
pub mod network;
pub mod policies;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::access;
use crate::identity::HostIdentity;
use crate::name::NotebookId;
use crate::world::{Pod, World};

/// Where a notebook's Secret is mounted.
pub const MOUNT: &str = "/var/run/secrets/fairlead";
/// The name of the volume in the Pod.
pub const VOLUME: &str = "fairlead-ssh";
/// The mode of the mounted files, of which each also has a root of mode 1777: readable by the container's user,
/// whoever that is. Who is in the container may read them all the same.
pub const MODE: i32 = 0o444;
/// Names the notebook on everything that is made for it.
pub const NOTEBOOK_LABEL: &str = "fairlead.dev/notebook";
/// The annotation that is changed, through `pods/status`, to make the kubelet look at the Secret.
pub const TOUCHED: &str = "fairlead.dev/secret-version";
/// The Secret's key under which the public half of the host key is.
pub const HOST_KEY_PUBLIC: &str = "ssh_host_ed25519_key.pub";
/// The field manager of server-side apply, and the value of `app.kubernetes.io/managed-by`.
pub const MANAGER: &str = "fairlead";

/// The name of a notebook's Secret.
#[must_use]
pub fn secret_name(id: &NotebookId) -> String {
    format!("fairlead-{}", id.name)
}

/// Whether a Pod has its notebook's Secret in the notebook's container.
#[must_use]
pub fn is_mounted(id: &NotebookId, pod: &Pod) -> bool {
    pod.mounted.get(id.name.as_str()) == Some(&secret_name(id))
}

/// The Secret of a notebook, or `None` where there is no such notebook.
#[must_use]
pub fn secret(world: &World, id: &NotebookId, identity: &HostIdentity) -> Option<Secret> {
    let notebook = world.notebook(id)?;
    let file = |text: &str| ByteString(format!("{}\n", text.trim_end()).into_bytes());
    let data = BTreeMap::from([
        ("authorized_keys".to_owned(), ByteString(authorized_keys(world, id).into_bytes())),
        ("ssh_host_ed25519_key".to_owned(), file(&identity.private)),
        (HOST_KEY_PUBLIC.to_owned(), file(&identity.public)),
        ("ssh_host_ed25519_key-cert.pub".to_owned(), file(&identity.certificate)),
    ]);
    let labels = [("app.kubernetes.io/managed-by", MANAGER), (NOTEBOOK_LABEL, id.name.as_str())];
    Some(Secret {
        metadata: ObjectMeta {
            name: Some(secret_name(id)),
            namespace: Some(id.namespace.to_string()),
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![OwnerReference {
                api_version: "kubeflow.org/v1".to_owned(),
                kind: "Notebook".to_owned(),
                name: id.name.to_string(),
                uid: notebook.uid.clone(),
                ..OwnerReference::default()
            }]),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    })
}

/// sshd's file for a notebook: the keys of everybody who reaches it, with whose they are. Nothing of it was typed by
/// the people: types and base64 come from parsed keys, and names are written with what could end a line made harmless.
/// No options: the session is the person's own shell, and what a jump host must not do is refused there.
#[must_use]
pub fn authorized_keys(world: &World, id: &NotebookId) -> String {
    let mut text = "# Written by Fairlead; changes here do not last.\n".to_owned();
    for person in access::reach(world, id) {
        let name: String = person.as_str().chars().filter(char::is_ascii_graphic).collect();
        for key in world.keys_of(person) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {name}", key.line());
        }
    }
    text
}
