//! The house rules that no compiler checks, over every text file of the project (CONTRIBUTING.md lists them).
//!
//! A rule is a function from a file's path and text to complaints. Words that a rule forbids are assembled here, so
//! that this file passes its own rules.

use std::fs;
use std::path::Path;

type Rule = fn(&str, &str) -> Vec<String>;

const RULES: [Rule; 7] =
    [a_pure_model, short_files, nouns_as_names, a_reason_to_exist, nothing_put_off, strict_scripts, no_private_places];

/// Names that say nothing of what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "common", "helpers", "manager", "service", "types", "misc"];
/// What a file of the model may not mention: each is a way to the world, a clock or a source of randomness.
const WAYS_OUT: [&str; 15] = [
    "tokio",
    "sqlx",
    "kube::client",
    "kube::Client",
    "kube::Api",
    "kube::runtime",
    "kube_client",
    "kube_runtime",
    "std::fs",
    "std::env",
    "net::Tcp",
    "net::Udp",
    "now()",
    "OsRng",
    "thread_rng",
];

#[test]
fn the_tree_is_tidy() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let mut files = Vec::new();
    read_tree(root, "", &mut files);
    assert!(files.iter().any(|(path, _)| path == "crates/lab/tests/it/tidy.rs"), "the walk missed this very file");
    let complaints: Vec<String> = files
        .iter()
        .flat_map(|(path, text)| {
            RULES.iter().flat_map(move |rule| rule(path, text)).map(move |c| format!("{path}: {c}"))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The model decides and never acts: whatever it needs from the world comes in as an argument.
fn a_pure_model(path: &str, text: &str) -> Vec<String> {
    if !path.starts_with("crates/model/") {
        return Vec::new();
    }
    let comment = if is_rust(path) { "//" } else { "#" };
    let code: Vec<&str> = text.lines().filter_map(|line| line.split(comment).next()).collect();
    let code = code.join("\n");
    // `use std::{env, fs};` is the same as naming both.
    let grouped = code.split("std::{").skip(1).filter_map(|rest| rest.split(';').next());
    let grouped = grouped.flat_map(|group| group.split(|c: char| !c.is_alphanumeric() && c != '_'));
    let named = grouped.filter(|word| ["fs", "env", "TcpStream", "TcpListener"].contains(word));
    let ways = WAYS_OUT.into_iter().filter(|way| code.contains(way));
    ways.chain(named).map(|way| format!("the model may not use `{way}`")).collect()
}

/// A file that long holds more than one noun.
fn short_files(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let long = is_rust(path) && lines > 500;
    complain(long, || format!("{lines} lines, 500 are the limit: split it by noun"))
}

/// A file or module is called by what it holds.
fn nouns_as_names(path: &str, text: &str) -> Vec<String> {
    let of_path = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let of_modules = text.lines().filter_map(|line| {
        let (before, after) = line.split_once("mod ")?;
        let declares = before.trim().is_empty() || before.trim_start().starts_with("pub");
        declares.then(|| after.trim_end().trim_end_matches(['{', ';', ' ']))
    });
    let empty = of_path.chain(of_modules).filter(|name| is_rust(path) && EMPTY_NAMES.contains(name));
    empty.map(|name| format!("`{name}` does not say what is inside")).collect()
}

/// The first line of a file says why there is one.
fn a_reason_to_exist(path: &str, text: &str) -> Vec<String> {
    complain(is_rust(path) && !text.starts_with("//! "), || "begins without `//! ` and why it exists".to_owned())
}

/// What is not done is absent, not promised; a test that does not run is no test.
fn nothing_put_off(path: &str, text: &str) -> Vec<String> {
    let put_off = [concat!("to", "do!("), concat!("unimple", "mented!("), concat!("#[ig", "nore")];
    let found = put_off.into_iter().filter(|word| is_rust(path) && text.contains(word));
    found.map(|word| format!("has `{word}`")).collect()
}

/// A script stops at the first failure. One that must not may leave `-e` out, below a comment that says why.
fn strict_scripts(_path: &str, text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    let shell = first.strip_prefix("#!").and_then(|rest| rest.rsplit([' ', '/']).find(|word| !word.starts_with('-')));
    let explained =
        || text.lines().zip(text.lines().skip(1)).any(|(a, b)| a.starts_with("# ") && b == "set -uo pipefail");
    match shell {
        Some("bash") => complain(!has_line(text, "set -euo pipefail") && !explained(), || {
            "a bash script without `set -euo pipefail`".to_owned()
        }),
        Some("sh" | "dash") => complain(!has_line(text, "set -eu"), || "a sh script without `set -eu`".to_owned()),
        _ => Vec::new(),
    }
}

/// No folder of one person's machine, and no host of a package registry: a user's network may have another.
fn no_private_places(path: &str, text: &str) -> Vec<String> {
    // Written by cargo, which records where each crate came from.
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let folders = ["work", "root"].map(|name| format!("/{name}"));
    let folders =
        folders.into_iter().filter(|folder| text.match_indices(folder).any(|(at, _)| is_alone(text, at, folder)));
    let registries = [("crates", "io"), ("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("npmjs", "com")];
    let registries = registries.into_iter().chain([("rubygems", "org"), ("proxy.golang", "org"), ("anaconda", "org")]);
    let hosts = registries.map(|(name, top)| format!("{name}.{top}")).filter(|host| text.contains(host));
    folders.chain(hosts).map(|place| format!("names `{place}`")).collect()
}

/// Whether an absolute path begins at `at`, rather than the middle of another or of a longer name.
fn is_alone(text: &str, at: usize, folder: &str) -> bool {
    let before = text[..at].chars().next_back().unwrap_or(' ');
    let after = text[at + folder.len()..].chars().next().unwrap_or(' ');
    let in_name = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    !in_name(before) && !")}>/*".contains(before) && !in_name(after)
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

fn has_line(text: &str, line: &str) -> bool {
    text.lines().any(|other| other == line)
}

fn complain(guilty: bool, complaint: impl FnOnce() -> String) -> Vec<String> {
    guilty.then(complaint).into_iter().collect()
}

/// Reads every text file below `root`, but for the folders that hold what git ignores: a README in one is not read.
fn read_tree(root: &Path, below: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(root.join(below)).expect("a folder of the project can be read") {
        let entry = entry.expect("an entry of a folder can be read");
        let name = entry.file_name().into_string().expect("names in the project are UTF-8");
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        let kind = entry.file_type().expect("an entry has a type");
        if name == ".git" {
            // In a work tree beside another one it is a file, with a folder of that machine.
            continue;
        }
        if kind.is_dir() && !["target", "downloads"].contains(&name.as_str()) {
            read_tree(root, &path, files);
        // In a work tree of git's, `.git` is a file with the path of the repository.
        } else if kind.is_file()
            && path != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            files.push((path, text));
        }
    }
}

#[test]
fn every_rule_can_complain() {
    let long = "//! x\n".repeat(501);
    let put_off = concat!("//! x\n#[ig", "nore]");
    let registry = ["see https://crates", "io"].join(".");
    let folder = ["cd ", "work/x"].join("/");
    let samples: [(Rule, &str, &str); 16] = [
        (a_pure_model, "crates/model/src/world.rs", "let at = SystemTime::now();"),
        (a_pure_model, "crates/model/src/world.rs", "use std::{collections::BTreeMap,\n env};"),
        (a_pure_model, "crates/model/src/world.rs", "fn read() { std::fs::read(\"x\") }"),
        (a_pure_model, "crates/model/src/world.rs", "use std::net::{IpAddr, TcpStream};\nnet::TcpStream::connect"),
        (a_pure_model, "crates/model/Cargo.toml", "[dependencies]\ntokio = \"1\""),
        (short_files, "crates/lab/src/world.rs", &long),
        (nouns_as_names, "crates/lab/src/utils.rs", "//! x"),
        (nouns_as_names, "crates/lab/tests/common/mod.rs", "//! x"),
        (nouns_as_names, "crates/lab/src/lib.rs", "//! x\npub(crate) mod helpers {"),
        (a_reason_to_exist, "crates/lab/src/lib.rs", "use std::fs;\n//! late"),
        (nothing_put_off, "crates/lab/src/lib.rs", put_off),
        (strict_scripts, "lab/x", "#!/bin/bash\necho"),
        (strict_scripts, "lab/x", "#!/command/with-contenv bash\n# why\n\nset -uo pipefail"),
        (strict_scripts, "lab/x", "#!/bin/sh\necho"),
        (no_private_places, "README.md", &registry),
        (no_private_places, "README.md", &folder),
    ];
    for (rule, path, text) in samples {
        assert!(!rule(path, text).is_empty(), "no complaint about {path}: {text:.60}");
    }
    let fine = "//! x\nuse std::net::IpAddr; // std::fs\nfn at(now: Time) { service(\"$dir/root\", \"/workspace\") }";
    for rule in RULES {
        assert_eq!(rule("crates/model/src/world.rs", fine), Vec::<String>::new());
    }
}
