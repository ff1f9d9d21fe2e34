//! Everything below `deploy` against Kubernetes' own schemas, of every version since 1.25.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fairlead_lab::paths;
use serde_json::Value;

use crate::full::full;
use crate::manifests::{WAYS, installed, shipped};

/// Brings the schemas of 1.25 to 1.37. Pinned, because another version has others.
const PACKAGE: &str = "kubernetes-validate==1.37.0";
const VERSIONS: std::ops::RangeInclusive<u32> = 25..=37;
/// Those that are asked each time: the ends, and the first that knows every kind.
const SOME: [u32; 3] = [25, 30, 37];

/// Every set of objects that somebody may apply.
fn sets() -> Vec<(String, Vec<Value>)> {
    let whole = ["base", "overlays/production", "demo", "demo-production", "admission-policy"];
    let whole = whole.map(|name| (name.replace('/', "-"), shipped(name)));
    let ways = WAYS.iter().enumerate();
    let ways = ways.map(|(index, way)| (format!("{}-{index}", way.overlay.replace('/', "-")), installed(way).0));
    whole.into_iter().chain(ways).collect()
}

#[test]
fn every_manifest_is_as_kubernetes_since_1_25_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut objects = 0;
    let mut unknown = BTreeSet::new();
    for (name, set) in sets() {
        let text: String = set.iter().flat_map(|one| [one.to_string(), "\n---\n".to_owned()]).collect();
        fs::write(folder.path().join(format!("{name}.yaml")), text).unwrap();
        objects += set.len();
    }
    let versions: Vec<u32> = if full() { VERSIONS.collect() } else { SOME.to_vec() };
    for minor in versions {
        let (status, said) = validate(folder.path(), minor);
        assert!(status, "1.{minor}: {}", said.lines().filter(|line| line.starts_with("ERROR")).collect::<String>());
        let passed = said.lines().filter(|line| line.contains(&format!("against version 1.{minor}"))).count();
        let missing: Vec<&str> =
            said.lines().filter_map(|line| line.split_once("schema for kind ")).map(kind).collect();
        assert_eq!(passed + missing.len(), objects, "1.{minor}: {said}");
        unknown.extend(missing.into_iter().map(|kind| (kind.to_owned(), minor)));
    }
    let newest = *VERSIONS.end();
    for (kind, minor) in unknown {
        // Istio's are in no schema of Kubernetes; the other two came with 1.30.
        let istio = ["VirtualService", "Gateway"].contains(&kind.as_str());
        assert!(istio || (kind.starts_with("ValidatingAdmissionPolicy") && minor < 30), "{kind} in 1.{minor}");
    }

    // And it says so when a field has another name.
    let production = fs::read_to_string(folder.path().join("overlays-production.yaml")).unwrap();
    let wrong = tempfile::tempdir().unwrap();
    fs::write(wrong.path().join("wrong.yaml"), production.replace("minReadySeconds", "minReadySecond")).unwrap();
    let (status, said) = validate(wrong.path(), newest);
    assert!(!status && said.contains("minReadySecond"), "{said}");
}

fn kind<'a>((_, rest): (&str, &'a str)) -> &'a str {
    rest.split(' ').next().unwrap()
}

fn validate(folder: &std::path::Path, minor: u32) -> (bool, String) {
    let mut command = Command::new(program());
    command.args(["--strict", "--kubernetes-version", &format!("1.{minor}.0")]);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let output = command.args(files).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// The program, installed into an environment of its own in the cache when it is not there yet.
fn program() -> PathBuf {
    let python = paths::cache().unwrap().join("python");
    let _lock = paths::lock(&python.join("lock")).unwrap();
    let environment = python.join(PACKAGE);
    let done = environment.join("done");
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", PACKAGE]));
        fs::write(&done, "").unwrap();
    }
    environment.join("bin/kubernetes-validate")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
