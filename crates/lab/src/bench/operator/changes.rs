//! One change at a time on a cluster that has converged: how long until the last notebook that it is about has it, what
//! was asked of the API server for it, and that nothing else was touched.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::super::figures::Figures;
use super::super::page::cast::{NOTEBOOKS, notebook, owner, profile};
use super::peer::TOUCHED;
use super::people::{self, LINES};
use super::requests::Requests;
use super::seen::{Id, Seen};
use crate::kubeflow::contributor::{Role, contributor};

/// How often each change is made.
const TIMES: usize = 10;
/// How long one may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long what must not happen is waited for.
const QUIET: Duration = Duration::from_secs(1);

/// What was measured of one kind of change.
#[derive(Default)]
struct Measured {
    seconds: Vec<f64>,
    requests: Vec<f64>,
}

pub(super) async fn measure(
    server: &Path,
    state: &Path,
    client: &Client,
    seen: &mut Seen,
    profiles: usize,
    figures: &mut Figures,
) -> Result<()> {
    let size = profiles * NOTEBOOKS;
    // People and profiles far enough apart that each is changed once.
    let one = |nth: usize| nth * profiles / TIMES;

    tracing::info!("a key comes, {TIMES} times");
    let (mut all, mut command) = (Measured::default(), Vec::new());
    for nth in 0..TIMES {
        let key = people::new_key(state, nth)?.display().to_string();
        let wanted = ids(people::works_in(one(nth), profiles));
        all.start(client, seen).await?;
        let began = Instant::now();
        people::keys(server, state, &["add", &owner(one(nth)), &key])?;
        command.push(began.elapsed().as_secs_f64());
        all.end(client, seen, began, &wanted, |seen, id| seen.keys(id) > LINES).await?;
    }
    all.add(&format!("{size}: a key, until its person's 40 notebooks have it"), figures);
    figures.add(&format!("{size}: of that, the command `keys add` itself"), "s", command);

    tracing::info!("a contributor goes, {TIMES} times");
    let mut all = Measured::default();
    for nth in 0..TIMES {
        // Nobody whose keys became more.
        let (space, person) = (profile(one(nth) + 1), owner((one(nth) + 2) % profiles));
        let name = contributor(&space, &person, Role::Edit).0.metadata.name.unwrap_or_default();
        let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), &space);
        let wanted = ids(vec![one(nth) + 1]);
        all.start(client, seen).await?;
        let began = Instant::now();
        bindings.delete(&name, &DeleteParams::default()).await.context("deleting a RoleBinding")?;
        all.end(client, seen, began, &wanted, |seen, id| seen.keys(id) == LINES - 5).await?;
    }
    all.add(&format!("{size}: a contributor goes, until a profile's 10 notebooks know"), figures);

    tracing::info!("a Pod comes, {TIMES} times");
    let mut seconds = Vec::new();
    for nth in 0..TIMES {
        seconds.push(pod_again(client, seen, &profile(one(nth)), &notebook(0)).await?);
    }
    figures.add(&format!("{size}: a Pod made again, until it is touched"), "s", seconds);
    Ok(())
}

/// All notebooks of some profiles.
fn ids(profiles: Vec<usize>) -> BTreeSet<Id> {
    profiles.into_iter().flat_map(|of| (0..NOTEBOOKS).map(move |number| (profile(of), notebook(number)))).collect()
}

impl Measured {
    async fn start(&mut self, client: &Client, seen: &mut Seen) -> Result<()> {
        tokio::time::sleep(QUIET).await;
        seen.forget();
        self.requests.push(-Requests::read(client).await?.of_objects());
        Ok(())
    }

    /// Waits until all of `wanted` are as they are to be, and sees that no other notebook was changed.
    async fn end(
        &mut self,
        client: &Client,
        seen: &mut Seen,
        began: Instant,
        wanted: &BTreeSet<Id>,
        is_done: impl Fn(&Seen, &Id) -> bool,
    ) -> Result<()> {
        let has_pod = |id: &Id| (0..TOUCHED).any(|number| notebook(number) == id.1);
        let done = |seen: &Seen| wanted.iter().all(|id| is_done(seen, id) && (!has_pod(id) || seen.is_touched(id)));
        let ended = seen.until(PATIENCE, done).await?;
        self.seconds.push(ended.duration_since(began).as_secs_f64());
        tokio::time::sleep(QUIET).await;
        let changed = std::mem::take(&mut seen.changed);
        ensure!(changed == *wanted, "other notebooks were changed: {:?}", changed.symmetric_difference(wanted));
        let requests = Requests::read(client).await?.of_objects();
        self.requests.last_mut().map(|before| *before += requests).context("it began")
    }

    fn add(self, what: &str, figures: &mut Figures) {
        figures.add(what, "s", self.seconds);
        figures.add(&format!("{what}: requests"), "", self.requests);
    }
}

/// Deletes a Pod and makes it again, as a StatefulSet's controller would.
async fn pod_again(client: &Client, seen: &mut Seen, namespace: &str, name: &str) -> Result<f64> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pod = format!("{name}-0");
    let mut object = pods.get(&pod).await.context("reading a Pod")?;
    pods.delete(&pod, &DeleteParams::default().grace_period(0)).await.context("deleting a Pod")?;
    let metadata = std::mem::take(&mut object.metadata);
    object.metadata.name = metadata.name;
    object.metadata.labels = metadata.labels;
    object.metadata.owner_references = metadata.owner_references;
    let status = json!({"status": object.status.take()});
    let id = (namespace.to_owned(), name.to_owned());
    seen.lose_pod(&id);
    let began = Instant::now();
    pods.create(&PostParams::default(), &object).await.context("creating a Pod")?;
    pods.patch_status(&pod, &PatchParams::default(), &Patch::Merge(status)).await.context("a Pod's status")?;
    let ended = seen.until(PATIENCE, |seen| seen.is_touched(&id)).await?;
    Ok(ended.duration_since(began).as_secs_f64())
}
