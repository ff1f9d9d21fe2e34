//! A database between two versions of the server: what the older one wrote is all there in the newer one, and the
//! older one goes on with the newer schema, beside the newer one during an update or instead of it after a rollback.
//!
//! The older version is the schema up to 0008, with the statements that servers of then have. The list of statements
//! stays as it is: a migration that keeps one of them from working is not one that only adds.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;

use fairlead_model::{Label, NotebookId};
use fairlead_server::store::Store;
use sqlx::migrate::Migrator;
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::databases::{Database, on_both_here};
use crate::rows::{NOW, key, person};

/// The newest version of then.
const THEN: i64 = 8;
/// Its tables.
const TABLES: [&str; 16] = [
    "asks",
    "audit",
    "epochs",
    "gateways",
    "had_keys",
    "host_keys",
    "keys",
    "last_sessions",
    "meta",
    "parts",
    "picture",
    "readers",
    "revisions",
    "sessions",
    "switches",
    "troubles",
];

/// The migrations of then. They are in the program of now, byte for byte: a changed one would be refused.
fn migrations_of_then(ignore_missing: bool) -> Migrator {
    let all = sqlx::migrate!();
    let then: Vec<_> = all.iter().filter(|migration| migration.version <= THEN).cloned().collect();
    let mut then = Migrator { migrations: then.into(), ..Migrator::DEFAULT };
    then.set_ignore_missing(ignore_missing);
    then
}

async fn run(connection: &mut AnyConnection, sql: String) -> u64 {
    let done = connection.execute(AssertSqlSafe(sql.clone())).await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
}

/// What a server of then writes about a person and a notebook with this number: a row in every table.
fn writes(number: u8) -> Vec<String> {
    let (key, claimed) = (key(number), key(number + 100));
    let (print, line) = (key.fingerprint(), key.line());
    let (now, name) = (NOW.0, format!("n{number}"));
    vec![
        "update revisions set revision = revision + 1 where name = 'keys'".to_owned(),
        format!(
            "insert into keys (person, fingerprint, line, comment, added, confirmed, code_hash, expires, ends, used, \
             proved, older) values ('{name}@example.com', '{print}', '{line}', 'laptop', {now}, {now}, null, null, \
             null, {now}, null, 0)"
        ),
        format!(
            "insert into keys (person, fingerprint, line, comment, added, code_hash, expires, older) values \
             ('{name}@example.com', '{}', '{}', '', {now}, 'hash', {now}, 1)",
            claimed.fingerprint(),
            claimed.line()
        ),
        format!("insert into had_keys (person, since) values ('{name}@example.com', {now}) on conflict do nothing"),
        format!(
            "insert into sessions (id, gateway, person, fingerprint, namespace, notebook, pod, way, client_address, \
             client_version, began, bytes_up, bytes_down) values ('{name}', 'g', '{name}@example.com', '{print}', \
             'team-a', '{name}', 'uid', 'jump', '192.0.2.1:1', 'SSH-2.0-x', {now}, 0, 0)"
        ),
        format!("update sessions set end_asked = {now}, end_asked_by = 'ann@example.com' where id = '{name}'"),
        format!(
            "update sessions set ended = {now}, bytes_up = 1, bytes_down = 2, reason = 'closed' where id = '{name}'"
        ),
        format!(
            "insert into last_sessions (namespace, notebook, person, began) values ('team-a', '{name}', \
             '{name}@example.com', {now})"
        ),
        format!("insert into gateways (id, seen) values ('{name}', {now}) on conflict (id) do update set seen = {now}"),
        format!(
            "insert into audit (id, at, event, person, client_address, object, detail) values ('{name}', {now}, \
             'key-added', '{name}@example.com', null, null, null)"
        ),
        format!("insert into epochs (namespace, epoch) values ('{name}', 0)"),
        format!("update epochs set epoch = epoch + 3 where namespace = '{name}'"),
        format!("insert into readers (namespace, person) values ('{name}', '{name}@example.com')"),
        format!(
            "insert into picture (id, at, json) values (1, {now}, '{name}') \
             on conflict (id) do update set at = excluded.at, json = excluded.json"
        ),
        format!(
            "insert into meta (name, value) values ('authority', '{name}') \
             on conflict (name) do update set value = excluded.value"
        ),
        format!("insert into troubles (namespace, notebook, reason, since) values ('{name}', 'ml', 'no-sshd', {now})"),
        format!("insert into switches (namespace, person, at) values ('{name}', 'ann@example.com', {now})"),
        format!(
            "insert into asks (id, kind, namespace, notebook, person, asked) values ('{name}', 'start', 'team-a', \
             '{name}', '{name}@example.com', {now})"
        ),
        format!(
            "insert into host_keys (namespace, notebook, line) values ('team-a', '{name}', '{line}') \
             on conflict (namespace, notebook) do update set line = excluded.line"
        ),
        format!("insert into parts (id, part, seen) values ('{name}', 'gateway', {now})"),
    ]
}

/// What a server of then reads: each finds one row.
fn reads(number: u8) -> Vec<String> {
    let name = format!("n{number}");
    vec![
        "select name, revision from revisions where name = 'keys'".to_owned(),
        format!(
            "select person, line, comment, added, confirmed, expires, ends, used, proved, older from keys \
             where person = '{name}@example.com' and confirmed is not null"
        ),
        format!("select fingerprint, code_hash from keys where person = '{name}@example.com' and confirmed is null"),
        format!("select since from had_keys where person = '{name}@example.com'"),
        format!(
            "select id, gateway, person, fingerprint, namespace, notebook, pod, way, client_address, client_version, \
             began, ended, bytes_up, bytes_down, reason, end_asked, end_asked_by from sessions \
             where id = '{name}' and reason = 'closed'"
        ),
        format!("select namespace, notebook, began, person from last_sessions where notebook = '{name}'"),
        format!("select seen from gateways where id = '{name}'"),
        format!("select at, event, person, client_address, object, detail from audit where id = '{name}'"),
        format!("select epoch from epochs where namespace = '{name}' and epoch = 3"),
        format!("select person from readers where namespace = '{name}'"),
        "select json, at from picture where id = 1".to_owned(),
        "select value from meta where name = 'authority'".to_owned(),
        format!("select namespace, notebook, reason, since from troubles where namespace = '{name}'"),
        format!("select namespace, person, at from switches where namespace = '{name}'"),
        format!("select id, kind, namespace, notebook, person, asked, done, outcome from asks where id = '{name}'"),
        format!("select line from host_keys where namespace = 'team-a' and notebook = '{name}'"),
        format!("select id, part, seen from parts where id = '{name}'"),
    ]
}

/// What the server of now makes of a person and a notebook with this number.
async fn is_known(store: &Store, number: u8) {
    let name = format!("n{number}");
    let who = person(&name);
    let keys = store.list_keys(Some(&who), NOW.plus_seconds(-1)).await.unwrap();
    let [confirmed, claimed] = [true, false].map(|is| keys.iter().filter(|row| row.confirmed.is_some() == is).count());
    assert_eq!((confirmed, claimed), (1, 1), "{keys:?}");
    let sessions = store.list_sessions(Some(&who), 10).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].1.as_ref().map(|end| end.reason.as_str()), Some("closed"));
    assert_eq!(store.epochs().await.unwrap()[&Label::parse(&name).unwrap()], 3);
    let id = NotebookId::parse("team-a", &name).unwrap();
    assert_eq!(store.host_key(&id).await.unwrap(), Some(key(number)));
    assert!(store.list_audit(10).await.unwrap().iter().any(|event| event.person.as_deref() == Some(who.as_str())));
    assert!(store.list_switches().await.unwrap().iter().any(|row| row.namespace.as_str() == name));
    assert!(store.open_asks(NOW).await.unwrap().iter().any(|ask| ask.id == name));
    assert_eq!(store.last_sessions().await.unwrap().iter().filter(|last| *last.0 == id).count(), 1);
}

async fn story(database: Database) {
    // The file has to be there, as `Store::open` would have made it.
    let file = database.file().map(std::path::Path::to_owned);
    if let Some(file) = &file {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
    }
    sqlx::any::install_default_drivers();
    let mut then = AnyConnection::connect(database.url()).await.unwrap();
    migrations_of_then(false).run(&mut then).await.unwrap();
    for sql in writes(1) {
        run(&mut then, sql).await;
    }
    if file.is_some() {
        // Every table of then has a row that has to come through.
        let names = "select name from sqlite_master where type = 'table' and name not like '\\_%' escape '\\'";
        let tables: Vec<String> = sqlx::query_scalar(names).fetch_all(&mut then).await.unwrap();
        let tables: BTreeSet<&str> = tables.iter().map(String::as_str).collect();
        assert_eq!(tables, TABLES.into_iter().collect());
    }

    // Upgrade, while the older one still has the database open.
    let store = database.open().await;
    is_known(&store, 1).await;
    assert_eq!(store.load_picture().await.unwrap(), Some(("n1".to_owned(), NOW)));
    assert_eq!(store.authority().await.unwrap().as_deref(), Some("n1"));
    let newest: i64 =
        sqlx::query_scalar("select max(version) from _sqlx_migrations").fetch_one(&mut then).await.unwrap();
    assert!(newest > THEN, "there is nothing to upgrade to");

    // The older one starts again, as after a rollback, and does all that it did; both see what the other wrote.
    assert!(migrations_of_then(false).run(&mut then).await.is_err(), "a newer schema is one that it does not know");
    migrations_of_then(true).run(&mut then).await.unwrap();
    for sql in reads(1) {
        assert_eq!(then.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap().len(), 1, "{sql}");
    }
    for sql in writes(2) {
        run(&mut then, sql).await;
    }
    for number in [1, 2] {
        is_known(&store, number).await;
    }
    let id = NotebookId::parse("team-a", "n2").unwrap();
    let keys = [(id.clone(), key(3))].into();
    store.set_host_keys(&keys, &[id.clone()].into(), NOW).await.unwrap();
    store.add_key(&person("new"), &key(4), "", NOW).await.unwrap();
    for (sql, count) in [
        (format!("select line from host_keys where notebook = 'n2' and line = '{}'", key(3).line()), 1),
        ("select person from keys where person = 'new@example.com' and confirmed is not null".to_owned(), 1),
    ] {
        assert_eq!(then.fetch_all(AssertSqlSafe(sql.clone())).await.unwrap().len(), count, "{sql}");
    }
    then.close().await.unwrap();

    // And the newer one once more.
    drop(store);
    let store = database.open().await;
    for number in [1, 2] {
        let name = format!("n{number}");
        assert_eq!(store.list_sessions(Some(&person(&name)), 10).await.unwrap().len(), 1);
    }
}

#[test]
fn what_an_older_server_wrote_comes_through_an_upgrade_and_a_rollback() {
    on_both_here(story);
}
