//! What is in the lists that everybody may open: of whom each visitor sees what, in every form it comes in.

use std::fmt::Write as _;

use fairlead_model::NotebookId;
use fairlead_server::clock::now;
use fairlead_server::store::sessions::SessionBegin;

use crate::databases::{Database, on_both};
use crate::page_bed::PageBed;
use crate::rows::{begin, key, person};

/// What stands for each thing, wherever it is shown.
const MARKS: [(&str, &str); 10] = [
    ("bert", "jupyter-bert:"),
    ("ernie", "jupyter-ernie:"),
    ("alice's key", "key-of-alice"),
    ("erin's key", "key-of-erin"),
    ("alice's session", "192.0.2.1:"),
    ("bob's session", "192.0.2.2:"),
    ("erin's session", "192.0.2.5:"),
    ("team-b", "team-b"),
    ("erin", "erin@example.com"),
    ("bert's address", "198.18.0.1"),
];

#[test]
fn everybody_sees_their_own_and_what_their_profiles_let_them() {
    async fn story(database: Database) {
        let store = database.open().await;
        let bed = PageBed::start(store.clone(), &[]).await;
        for (who, number) in [("alice", 1), ("erin", 5)] {
            store.add_key(&person(who), &key(number), &format!("key-of-{who}"), now()).await.unwrap();
        }
        for (who, number, space, name) in
            [("alice", 1, "team-a", "bert"), ("bob", 2, "team-a", "bert"), ("erin", 5, "team-b", "ernie")]
        {
            let notebook = NotebookId::parse(space, name).unwrap();
            let from = format!("192.0.2.{number}:50000");
            let session = SessionBegin { person: person(who), notebook, from, ..begin(&format!("0{number}"), 0) };
            store.begin_session(&session).await.unwrap();
        }
        let mut table = String::new();
        for path in [
            "/",
            "/?ns=team-b",
            "/api/v1/notebooks",
            "/api/v1/notebooks?ns=team-b",
            "/keys",
            "/api/v1/keys",
            "/sessions",
            "/sessions?text=ernie",
            "/sessions.csv",
            "/api/v1/sessions",
            "/api/v1/sessions?text=ernie&live=true",
        ] {
            writeln!(table, "{path}").unwrap();
            for who in ["alice", "bob", "carol", "erin", "dave", "root"] {
                // What was asked for is said again, and is not what is there.
                let text = bed.get(who, path).await.text.replace("ns=team-b", "").replace("value=\"team-b\"", "");
                let seen = MARKS.iter().filter(|(_, mark)| text.contains(mark)).map(|(what, _)| *what);
                writeln!(table, "    {who:5} {}", seen.collect::<Vec<_>>().join(", ")).unwrap();
            }
        }
        let table: Vec<&str> = table.lines().map(str::trim_end).collect();
        insta::assert_snapshot!("lists", table.join("\n"));
    }
    on_both(story);
}
