//! The wall clock of the program jumps five minutes ahead and back, and nothing of it is believed.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_server::clock;

use crate::databases::Database;
use crate::fault_server::Server;
use crate::fault_site::Site;
use crate::full::full;
use crate::gateway_person::{Client, finish};

/// The wall clock of a process, which goes on in step with the true one from wherever it is set.
struct Clock(PathBuf);

impl Clock {
    /// For `serve_with`; what waits and measures time goes by the monotonic clock, which is not touched.
    fn start(site: &Site, parts: &str) -> (Self, Server) {
        let file = site.dir.path().join("clock");
        let clock = Self(file.clone());
        clock.set(0);
        let server = site.serve_with(parts, |command| {
            command.env("LD_PRELOAD", library()).env("FAKETIME_TIMESTAMP_FILE", &file).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
        });
        (clock, server)
    }

    /// So many minutes off.
    fn set(&self, minutes: i64) {
        let new = self.0.with_extension("new");
        fs::write(&new, format!("{:+}", minutes * 60)).unwrap();
        fs::rename(new, &self.0).unwrap();
    }
}

/// Debian puts it where no linker looks.
fn library() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let mut found = places.map(|dir| dir.join("faketime/libfaketimeMT.so.1")).filter(|file| file.exists());
    found.next().expect("libfaketime is installed (hint: lab/setup)")
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_five_minutes_cut_nobody_lose_nothing_and_keep_no_processor_busy() {
    let site = Site::start(Database::sqlite()).await;
    let (wall, mut server) = Clock::start(&site, "operator,gateway");
    let _bert = site.notebook("bert").await;
    server.listens().await;
    let alice = site.person("alice", &server).await;
    site.opens(&alice, "bert").await;
    let mut live = alice.stays_in("bert.team-a.notebook").await;
    let keys = site.cluster.store.list_keys(None, clock::now()).await.unwrap();

    let steps: &[i64] = if full() { &[5, -5, 5, 0, -5, 0, 5, -5] } else { &[5, -5] };
    let mut sshds = Vec::new();
    let mut claimed = None;
    for (round, minutes) in steps.iter().enumerate() {
        wall.set(*minutes);
        assert_eq!(off_minutes(&site, &alice).await, *minutes, "the server's clock");
        let (_, before) = server.costs();
        let second = tokio::time::Instant::now() + Duration::from_secs(2);
        tokio::time::sleep_until(second).await;
        let (_, after) = server.costs();
        let cost = after.saturating_sub(before);
        assert!(cost < Duration::from_millis(500), "two idle seconds cost {cost:?}");
        live.echoes("the same session").await;
        // A notebook whose certificate is made by a wrong clock opens to somebody whose clock is right.
        let name = format!("n{round}");
        sshds.push(site.notebook(&name).await);
        site.opens(&alice, &name).await;
        // A claim made five minutes ahead is good five minutes behind.
        if let Some((laptop, code)) = claimed.replace(claim(&site, &server, &alice, &name).await) {
            let said = laptop.asks_to_confirm(&format!("confirm {code}")).await;
            assert!(said.code == Some(0) && said.out.contains("is now a key of alice@example.com"), "{said:?}");
        }
    }
    let now = site.cluster.store.list_keys(None, clock::now()).await.unwrap();
    assert!(keys.iter().all(|key| now.iter().any(|other| other.public == key.public)), "{now:?}");
    drop(live.child.stdin.take());
    site.has_recorded_all_of(&server).await;
    for (begin, end) in site.cluster.store.list_sessions(None, 1000).await.unwrap() {
        let end = end.unwrap();
        let took = end.at.0 - begin.at.0;
        // The clock was put back five minutes while one of them was open.
        assert!((0..240_000).contains(&took), "a session of {took} ms: {begin:?} {end:?}");
    }
}

/// Logs in, and says how many minutes off that session's begin was written down.
async fn off_minutes(site: &Site, alice: &Client) -> i64 {
    let all = async || site.cluster.store.list_sessions(None, 1000).await.unwrap();
    let before: BTreeSet<String> = all().await.into_iter().map(|(begin, _)| begin.id).collect();
    alice.gets_into("bert.team-a.notebook").await.is_in("bert");
    let new = all().await.into_iter().find(|(begin, _)| !before.contains(&begin.id)).unwrap().0;
    (new.at.0 - clock::now().0 + 30_000).div_euclid(60_000)
}

/// Claims a further key on the gateway, by its clock: who has the key, and the code.
async fn claim(site: &Site, server: &Server, alice: &Client, name: &str) -> (Client, String) {
    let laptop = site.stranger(name, server).await;
    let input = Stdio::from(alice.file("input", laptop.line()));
    let said = finish(alice.ssh().args([GATEWAY_ALIAS, "keys", "add"]).stdin(input)).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    (laptop, said.out.trim_end().rsplit(' ').next().unwrap().to_owned())
}
