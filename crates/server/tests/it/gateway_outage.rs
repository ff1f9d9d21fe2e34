//! People get in while PostgreSQL is away, and what they did is written down when it is back.

use std::time::{Duration, Instant};

use crate::databases::Database;
use crate::gateway_bed::Bed;
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn new_logins_work_while_postgresql_is_stopped_and_are_recorded_afterwards() {
    let server = std::sync::Arc::new(Postgres::start());
    let database = Database::postgres(server.clone()).await;
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::on(dir, database.open().await, |_| {}).await;
    let (alice, dave) = (bed.person("alice").await, bed.person("dave").await);
    alice.gets_into("bert.team-a.notebook").await.is_in("bert");

    server.stop();
    let began = Instant::now();
    alice.gets_into("bert.team-a.notebook").await.is_in("bert");
    assert!(began.elapsed() < Duration::from_secs(5), "a login took {:?}", began.elapsed());
    dave.gets_into("bert.team-a.notebook").await.is_refused("no such notebook, or it is not yours");
    let said = alice.asks("config").await;
    assert!(said.code == Some(0) && said.out.contains("\nHost *.notebook\n"), "{said:?}");
    assert!(said.out.contains("\n## the database does not answer"), "what is missing is said: {said:?}");
    let said = alice.asks("config").await;
    assert!(said.code == Some(0) && said.out.contains("\nHost *.notebook\n"), "{said:?}");
    assert!(said.out.contains("\n## the database does not answer"), "what is missing is said: {said:?}");
    let mut live = alice.stays_in("bert.team-a.notebook").await;
    live.echoes("still here").await;

    server.resume_from_stop();
    let deadline = Instant::now() + Duration::from_secs(20);
    let sessions = loop {
        match bed.store.list_sessions(None, 10).await {
            Ok(sessions) if sessions.len() == 3 && sessions.iter().skip(1).all(|(_, end)| end.is_some()) => {
                break sessions;
            }
            other => assert!(Instant::now() < deadline, "not recorded: {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(sessions.iter().all(|(begin, _)| begin.person.as_str() == "alice@example.com"));
    assert!(sessions[0].1.is_none(), "the live session has an end: {:?}", sessions[0]);
    let events = bed.store.list_audit(10).await.unwrap();
    let refused = |person: &str| events.iter().any(|event| event.person.as_deref() == Some(person));
    assert!(refused("dave@example.com"), "{events:?}");
    live.echoes("and after").await;
}
