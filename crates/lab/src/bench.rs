//! The lab's benchmark: how long the lab and a notebook's sshd take, and what an idle sshd costs.

mod figures;
pub mod operator;
pub mod page;
mod running;

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::cluster::{self, Cluster};
use crate::control_plane::ControlPlane;
use crate::{demo, images, paths};

/// How often each figure is taken; odd, so that the median is one of them.
const ROUNDS: usize = 5;

/// Measures everything in rounds and returns a Markdown table of medians and ranges, in the units it names.
///
/// Ends a running cluster first: starting it is one of the figures.
pub async fn run() -> Result<String> {
    let mut planes = Vec::new();
    let mut ups = Vec::new();
    let mut downs = Vec::new();
    tokio::task::spawn_blocking(cluster::down).await.context("ending the cluster")??;
    // The first start fills caches and is not counted.
    drop(ControlPlane::start().await?);
    Cluster::shared().await?;
    tokio::task::spawn_blocking(cluster::down).await.context("ending the cluster")??;
    for round in 1..=ROUNDS {
        tracing::info!("lab, round {round} of {ROUNDS}");
        let began = Instant::now();
        let plane = ControlPlane::start().await?;
        planes.push(began.elapsed().as_secs_f64());
        drop(plane);
        let began = Instant::now();
        Cluster::shared().await?;
        ups.push(began.elapsed().as_secs_f64());
        if round < ROUNDS {
            let began = Instant::now();
            tokio::task::spawn_blocking(cluster::down).await.context("ending the cluster")??;
            downs.push(began.elapsed().as_secs_f64());
        }
    }
    let cluster = Cluster::shared().await?;
    let pods: Api<Pod> = Api::namespaced(cluster.client().await?, "default");
    let (mut to_sshd, mut to_http, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        tracing::info!("Pod, round {round} of {ROUNDS}");
        let (sshd, http, kib) = one_pod(&pods).await?;
        to_sshd.push(sshd);
        to_http.push(http);
        memory.push(kib);
    }
    let mut demos = Vec::new();
    for round in 0..=ROUNDS {
        tracing::info!("demo, round {round} of {ROUNDS}; the first is not counted");
        let began = Instant::now();
        demo::run().await?;
        demos.push(began.elapsed().as_secs_f64());
    }
    let ratio: Vec<f64> = to_sshd.iter().zip(&to_http).map(|(sshd, http)| sshd / http).collect();
    let mut rows = vec!["| figure | median | range | n |".to_owned(), "| --- | --- | --- | --- |".to_owned()];
    rows.push(row("control plane, start to CRDs usable", "s", planes));
    rows.push(row("cluster, start to node ready (images built)", "s", ups));
    rows.push(row("cluster, down", "s", downs));
    rows.push(row("Pod created to sshd's greeting", "s", to_sshd));
    rows.push(row("Pod created to the notebook's port 8888 open", "s", to_http));
    rows.push(row("sshd's time to that of port 8888", "ratio", ratio));
    rows.push(row("idle sshd with its watcher, PSS", "KiB", memory));
    rows.push(row("what the layer adds to its base, compressed", "KiB", vec![layer_kib()?]));
    rows.push(row("demo, run again", "s", demos.split_off(1)));
    Ok(rows.join("\n"))
}

/// Seconds from creation to sshd's greeting and to port 8888 open, and the PSS in KiB of sshd and its watcher.
async fn one_pod(pods: &Api<Pod>) -> Result<(f64, f64, f64)> {
    let pod = json!({"metadata": {"name": "bench"}, "spec": {"terminationGracePeriodSeconds": 0,
        "containers": [{"name": "bench", "image": images::NOTEBOOK}]}});
    let pod: Pod = serde_json::from_value(pod).context("writing a Pod")?;
    let before = sshds();
    let began = Instant::now();
    pods.create(&PostParams::default(), &pod).await.context("creating a Pod")?;
    let ip = loop {
        let status = pods.get("bench").await.context("reading the Pod")?.status;
        if let Some(ip) = status.and_then(|status| status.pod_ip) {
            break ip;
        }
        if began.elapsed() > Duration::from_mins(1) {
            bail!("the Pod has no address after a minute");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let address = |port: u16| -> Result<SocketAddr> { format!("{ip}:{port}").parse().context("reading the Pod's IP") };
    let ssh = address(2209)?;
    let sshd = tokio::spawn(async move {
        demo::wait_for_sshd(ssh, Duration::from_mins(1)).await.map(|_| began.elapsed().as_secs_f64())
    });
    let notebook = address(8888)?;
    let http = loop {
        if tokio::net::TcpStream::connect(notebook).await.is_ok() {
            break began.elapsed().as_secs_f64();
        }
        if began.elapsed() > Duration::from_mins(1) {
            bail!("port 8888 is not open after a minute");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let sshd = sshd.await.context("waiting for sshd")??;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let new: Vec<u32> = sshds().into_iter().filter(|pid| !before.contains(pid)).collect();
    let pss: u32 = new.iter().map(|pid| pss_kib(*pid)).sum();
    pods.delete("bench", &DeleteParams::default()).await.context("deleting the Pod")?;
    while pods.get_opt("bench").await.context("waiting for the Pod to go")?.is_some() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok((sshd, http, f64::from(pss)))
}

/// The pids of all sshd processes that the host sees, and of the services that watch them.
fn sshds() -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    pids.filter(|pid| ["sshd", "serve-sshd"].contains(&name(pid).trim())).collect()
}

fn pss_kib(pid: u32) -> u32 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The archive of the notebook image without that of its base. Both hold the base's layers alike.
fn layer_kib() -> Result<f64> {
    let size = |name: &str| -> Result<u32> {
        let path = paths::cache()?.join(format!("images/{name}.tar"));
        let bytes = fs::metadata(&path).with_context(|| format!("reading `{}`", path.display()))?.len();
        Ok(u32::try_from(bytes / 1024)?)
    };
    Ok(f64::from(size("notebook")?.saturating_sub(size("testbase")?)))
}

fn row(figure: &str, unit: &str, mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let digits = if unit == "KiB" { 0 } else { 2 };
    let (low, high) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
    let median = values.get(values.len() / 2).copied().unwrap_or(0.0);
    let n = values.len();
    format!("| {figure} | {median:.digits$} {unit} | {low:.digits$}–{high:.digits$} | {n} |")
}
