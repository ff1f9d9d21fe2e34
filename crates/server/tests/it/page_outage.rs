//! The page while the database hangs: what the cluster says counts at once all the same.

use std::sync::Arc;
use std::time::Duration;

use fairlead_model::Role;
use tokio::time::{sleep, timeout};

use crate::databases::Database;
use crate::gateway_bed::eventually;
use crate::page_bed::PageBed;
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_role_takes_its_notebooks_away_while_the_database_hangs() {
    let server = Arc::new(Postgres::start());
    let database = Database::postgres(server.clone()).await;
    let bed = PageBed::start(database.open().await, &[]).await;
    let sees = async || bed.get("bob", "/api/v1/notebooks").await.text.contains("bert.team-a");
    assert!(sees().await);
    server.freeze();
    let mut in_time = true;
    for _ in 0..4 {
        for role in [None, Some(Role::Edit)] {
            // By now somebody waits for an answer.
            sleep(Duration::from_millis(700)).await;
            bed.member("bob", role).await;
            let shown = eventually("the change", async || (sees().await == role.is_some()).then_some(()));
            in_time &= timeout(Duration::from_secs(1), shown).await.is_ok();
        }
    }
    server.thaw();
    assert!(in_time, "the page waits for the database");
}
