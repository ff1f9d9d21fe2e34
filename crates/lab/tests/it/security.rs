//! docs/security.md says by which tests each class of attack is shown to fail. Those tests are there, for every class.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const DOCS: &str = include_str!("../../../../docs/security.md");
/// The classes of attack.
const CLASSES: usize = 17;

/// The names of tests that a row of the table gives: words in backticks that are long enough to be sentences.
fn tests(row: &str) -> BTreeSet<&str> {
    let words = row.split('`').skip(1).step_by(2);
    let is_sentence = |word: &&str| {
        word.matches('_').count() >= 3
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    words.filter(is_sentence).collect()
}

/// All functions below a folder that are marked as tests.
fn marked(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            marked(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&path).expect("a file");
            for (mark, line) in text.lines().zip(text.lines().skip(1)) {
                let is_marked = mark.trim_start().starts_with("#[") && mark.contains("test");
                let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ");
                found.extend(name.filter(|_| is_marked).and_then(|name| name.split('(').next()).map(str::to_owned));
            }
        }
    }
}

#[test]
fn every_class_of_attack_has_a_row_and_every_test_it_names_is_there() {
    let mut found = BTreeSet::new();
    for name in ["model", "server", "lab"] {
        let of = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
        marked(&of.join("src"), &mut found);
        marked(&of.join("tests"), &mut found);
    }
    assert!(found.contains("every_class_of_attack_has_a_row_and_every_test_it_names_is_there"), "the walk missed this");
    for class in 1..=CLASSES {
        let begin = format!("| {class} | ");
        let rows: Vec<&str> = DOCS.lines().filter(|line| line.starts_with(&begin)).collect();
        assert_eq!(rows.len(), 1, "rows of class {class}");
        let named = tests(rows[0]);
        assert!(!named.is_empty(), "class {class} names no test");
        let missing: Vec<&&str> = named.iter().filter(|name| !found.contains(**name)).collect();
        assert!(missing.is_empty(), "class {class} names tests that are not there: {missing:?}");
    }
}
