//! docs/operations.md explains every sentence that people get and every alert that admins get.

use fairlead_lab::paths;

fn read(path: &str) -> String {
    std::fs::read_to_string(paths::project().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A text on one line, without the marks of code: they stand within sentences.
fn plain(text: &str) -> String {
    text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The string literals of Rust's source between two of its lines.
fn literals(source: &str, from: &str, to: &str) -> Vec<String> {
    let (_, rest) = source.split_once(from).unwrap_or_else(|| panic!("no `{from}`"));
    let (body, _) = rest.split_once(to).unwrap_or_else(|| panic!("no `{to}`"));
    body.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn every_sentence_and_event_is_explained() {
    let docs = plain(&read("docs/operations.md"));
    let refusals = read("crates/server/src/gateway/refusal.rs");
    let all = [
        literals(&read("crates/model/src/access.rs"), "pub const fn told", "\n    }\n"),
        literals(&read("crates/model/src/state.rs"), "pub const fn told", "\n    }\n"),
        literals(&refusals, "pub(super) fn answer", "\n    }\n"),
        literals(&refusals, "pub(super) fn told", "\n    }\n"),
        literals(&read("crates/server/src/operator/trouble.rs"), "const fn reason", "\n    }\n"),
    ];
    let counts: Vec<_> = all.iter().map(Vec::len).collect();
    assert!(counts.iter().zip([9, 4, 9, 8, 7]).all(|(found, least)| *found >= least), "{counts:?}");
    let missing: Vec<_> = all.concat().into_iter().filter(|text| !docs.contains(&plain(text))).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:#?}");
    for theirs in [
        "Permission denied (publickey)",
        "Host key verification failed",
        "No ED25519 host key is known",
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "channel 0: open failed",
        "Connection closed by",
    ] {
        assert!(docs.contains(theirs), "docs/operations.md lacks `{theirs}`");
    }
}
