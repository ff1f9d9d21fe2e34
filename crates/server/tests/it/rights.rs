//! The rights that the server's table lists are those that the manifests grant and the docs explain.

use std::collections::BTreeSet;

use fairlead_server::rights::{RIGHTS, Scope};
use serde_json::Value;

#[test]
fn the_manifests_grant_what_the_table_lists_and_nothing_else() {
    let text = include_str!("../../../../deploy/operator-rights/rbac.yaml");
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let words = |rule: &Value, field: &str| -> Vec<String> {
        rule[field].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let mut granted = BTreeSet::new();
    for document in &documents {
        let own = match document["kind"].as_str().unwrap() {
            "ClusterRole" => false,
            "Role" => true,
            _ => continue,
        };
        for rule in document["rules"].as_array().unwrap() {
            for (group, resource, verb) in
                all(&words(rule, "apiGroups"), &words(rule, "resources"), &words(rule, "verbs"))
            {
                granted.insert((own, group, resource, verb, words(rule, "resourceNames")));
            }
        }
    }
    let mut listed = BTreeSet::new();
    for right in RIGHTS {
        for verb in right.verbs {
            let names: Vec<String> = right.names.iter().map(|&name| name.to_owned()).collect();
            let own = right.scope == Scope::Own;
            listed.insert((own, right.group.to_owned(), right.resource.to_owned(), (*verb).to_owned(), names));
        }
    }
    assert_eq!(granted, listed);
    let explained = include_str!("../../../../docs/security.md");
    for right in RIGHTS {
        assert!(explained.contains(right.resource), "docs/security.md does not explain `{}`", right.resource);
    }
}

fn all(groups: &[String], resources: &[String], verbs: &[String]) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for group in groups {
        for resource in resources {
            all.extend(verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
        }
    }
    all
}
