//! The commands, by the stock OpenSSH; and what a key can do that is only claimed.

use std::process::Stdio;

use fairlead_model::client_config::GATEWAY_ALIAS;
use fairlead_model::world::Pod;
use fairlead_model::{Fact, Fingerprint, Trouble};
use fairlead_server::clock;

use crate::gateway_bed::{Bed, eventually, id, label, person, pod, running};
use crate::gateway_person::{Client, Said, finish};

const BERT: &str = "bert.team-a.notebook";

/// The code in what `keys add` printed.
fn code(said: &Said) -> String {
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out.trim_end().rsplit(' ').next().unwrap_or_default().to_owned()
}

/// `keys add` with the key on standard input.
async fn adds(client: &Client, line: &str) -> Said {
    let input = Stdio::from(client.file("input", line));
    finish(client.ssh().args([GATEWAY_ALIAS, "keys", "add"]).stdin(input)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_shows_the_notebooks_of_my_profiles_and_no_others() {
    let bed = Bed::start().await;
    let (alice, carol, dave) = (bed.person("alice").await, bed.person("carol").await, bed.person("dave").await);
    let stopped = fairlead_model::world::Notebook { stopped: true, ..running("big") };
    bed.fact(Fact::Notebook(id("team-a", "big-model"), Some(stopped))).await;
    let said = eventually("both notebooks", async || {
        Some(alice.asks("ls").await).filter(|said| said.out.lines().count() == 2)
    })
    .await;
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!(
        lines,
        [
            "bert.team-a.notebook       owner  running",
            "big-model.team-a.notebook  owner  the notebook is stopped: start it in the dashboard",
        ]
    );
    assert!(said.err.contains("Kubeflow's culler, where it is on, does not see SSH"), "{}", said.err);
    let said = alice.asks("ls --json").await;
    let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json[0]["ssh_counts_as_activity"], false);
    assert_eq!(json[0]["host"], BERT);
    assert_eq!((&json[0]["state"], &json[1]["state"]), (&"running".into(), &"stopped".into()));
    assert!(carol.asks("ls").await.out.contains("bert.team-a.notebook       view   your role"));
    assert!(!carol.asks("ls").await.err.contains("culler"), "she is in none of them");
    assert_eq!(dave.asks("ls").await.out, "no notebooks in your profiles yet\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn ls_says_what_keeps_people_out_although_nothing_is_refused() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let says = async |state: &str, told: &str| {
        eventually(told, async || Some(alice.asks("ls").await.out).filter(|out| out.contains(told))).await;
        let json: serde_json::Value = serde_json::from_str(&alice.asks("ls --json").await.out).unwrap();
        assert_eq!(json[0]["state"], state);
    };
    let bert = id("team-a", "bert");
    bed.store.set_troubles(&[(bert, [Trouble::NoSshd].into())].into(), clock::now()).await.unwrap();
    says("no-sshd", "no sshd answers").await;
    let bare = Pod { mounted: [].into(), ..pod("bert", "1", bed.bert.ip) };
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(bare))).await;
    says("needs-restart", "needs a restart").await;
    bed.store.switch_off(&label("team-a"), &person("root"), clock::now()).await.unwrap();
    says("off", "not switched on").await;
    assert!(alice.gets_into(BERT).await.err.contains("SSH is not switched on for this profile"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_config_prints_is_a_configuration_that_works() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let said = alice.asks("config").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    let known = said.out.lines().find_map(|line| line.strip_prefix("#@cert")).map(|line| format!("@cert{line}\n"));
    let home = alice.path("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("known"), known.unwrap()).unwrap();
    // OpenSSH takes the home of the account and not `$HOME`: the one path in it is another one here.
    let known = home.join("known").display().to_string();
    let config = said.out.replace("~/.ssh/fairlead_known_hosts", &known);
    assert_eq!(config.matches(&known).count(), 3);
    let first = format!(
        "BatchMode yes\nIdentityAgent none\nGlobalKnownHostsFile none\nIdentityFile {}\nHost *.notebook\n User root\n",
        alice.path("key").display()
    );
    std::fs::write(home.join("config"), format!("{first}{config}")).unwrap();
    let mut ssh = tokio::process::Command::new("ssh");
    finish(ssh.arg("-F").arg(home.join("config")).args([BERT, "echo in $NOTEBOOK"])).await.is_in("bert");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_follows_the_host_ca_from_the_announcement_of_the_next_to_the_end_of_the_last() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let shown = async || {
        let said = alice.asks("config").await;
        let lines = said.out.lines().filter_map(|line| line.strip_prefix("#@cert-authority "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(shown().await.len(), 1);
    bed.known_hosts.send_replace("@cert-authority * this\n@cert-authority * next\n".to_owned());
    assert_eq!(shown().await, ["* this", "* next"]);
    bed.known_hosts.send_replace("@cert-authority * next\n".to_owned());
    assert_eq!(shown().await, ["* next"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_added_confirmed_by_itself_used_and_removed() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let laptop = bed.stranger("laptop");
    laptop.gets_into(BERT).await.is_refused("Permission denied");
    let code = code(&adds(&alice, &laptop.line()).await);

    // Claimed: it signs in for `confirm`, and for nothing else.
    laptop.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    let jump = ["-l", "confirm", "-W", "bert.team-a.notebook:2209", GATEWAY_ALIAS];
    laptop.runs(&jump).await.is_refused("this key is not confirmed yet");
    for command in ["ls", "whoami", "config", "keys list", "keys add"] {
        let said = laptop.asks_to_confirm(command).await;
        assert!(said.code == Some(1) && said.out.is_empty() && said.err.contains("not confirmed yet"), "{said:?}");
    }
    let said = laptop.asks_to_confirm("confirm WRONG234").await;
    assert!(said.code == Some(1) && said.err.contains("this code does not belong"), "{said:?}");
    let said = alice.asks(&format!("confirm {code} {}", laptop.public().fingerprint())).await;
    assert!(said.out.contains("does not count yet: it has to sign, too"), "another key confirmed it: {said:?}");
    laptop.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    bed.audited("target-refused", "claimed-key").await;

    let said = laptop.asks_to_confirm(&format!("confirm {code}")).await;
    assert!(said.code == Some(0) && said.out.contains("is now a key of alice@example.com"), "{said:?}");
    laptop.gets_into(BERT).await.is_in("bert");
    let said = laptop.asks("keys list").await;
    let mine = said.out.lines().find(|line| line.ends_with("(this one)")).unwrap();
    assert!(mine.starts_with(laptop.public().fingerprint().as_str()) && said.out.lines().count() == 2, "{said:?}");
    let json: serde_json::Value = serde_json::from_str(&alice.asks("keys list --json").await.out).unwrap();
    assert_eq!(json.as_array().map(Vec::len), Some(2));

    let said = alice.asks(&format!("keys remove {}", laptop.public().fingerprint())).await;
    assert_eq!(said.code, Some(0), "{said:?}");
    eventually("its removal", async || laptop.gets_into(BERT).await.err.contains("Permission denied").then_some(()))
        .await;
    let events: Vec<String> = bed.store.list_audit(100).await.unwrap().into_iter().map(|event| event.event).collect();
    for event in ["key-claimed", "key-confirmed", "key-removed", "confirm-refused"] {
        assert!(events.iter().any(|other| other == event), "{event}: {events:?}");
    }
    alice.gets_into(BERT).await.is_in("bert");
}

#[tokio::test(flavor = "multi_thread")]
async fn claiming_the_key_of_another_keeps_nobody_from_it_and_opens_nothing() {
    let bed = Bed::start().await;
    let (alice, mallory) = (bed.person("alice").await, bed.person("mallory").await);
    let said = adds(&mallory, &alice.line()).await;
    assert!(said.code == Some(1) && said.err.contains("registered already"), "{said:?}");
    // A key that nobody has confirmed yet: both claim it, its true holder confirms.
    let laptop = bed.stranger("laptop");
    let theirs = code(&adds(&mallory, &laptop.line()).await);
    let ours = code(&adds(&alice, &laptop.line()).await);
    assert_ne!(theirs, ours);
    laptop.gets_into(BERT).await.is_refused("Permission denied (publickey)");
    let said = laptop.asks_to_confirm(&format!("confirm {ours}")).await;
    assert!(said.code == Some(0) && said.out.contains("alice@example.com"), "{said:?}");
    laptop.gets_into(BERT).await.is_in("bert");
    assert_eq!(laptop.asks_to_confirm(&format!("confirm {theirs}")).await.code, Some(1));
    assert!(laptop.asks("whoami").await.out.starts_with("alice@example.com\n"));
    mallory.gets_into(BERT).await.is_refused("no such notebook");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_somebody_else_claims_does_not_keep_its_holder_from_the_one_that_counts() {
    let bed = Bed::start().await;
    let (alice, mallory) = (bed.person("alice").await, bed.person("mallory").await);
    let second = bed.stranger("alice-second");
    let offers = [format!("-i{}", second.path("key").display()), format!("-i{}", alice.path("key").display())];
    code(&adds(&mallory, &second.line()).await);
    // Both keys, the claimed one first, as an agent offers them; the configuration's own key comes after those.
    let said = alice.runs(&[&offers[0], &offers[1], "-v", GATEWAY_ALIAS, "whoami"]).await;
    assert!(said.code == Some(0) && said.out.starts_with("alice@example.com\n"), "{said:?}");
    let fingerprint = second.public().fingerprint().to_string();
    let offered = said.err.lines().any(|line| line.contains("Offering public key") && line.contains(&fingerprint));
    assert!(offered, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_are_printed_work_as_they_stand() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    let laptop = bed.stranger("laptop");
    // Nothing of Fairlead's configuration: only the line of `known_hosts`.
    let first = format!(
        "-oUserKnownHostsFile={} -oGlobalKnownHostsFile=none -oStrictHostKeyChecking=yes -oBatchMode=yes",
        laptop.path("known_hosts").display()
    );
    let runs = async |said: &Said, client: &Client| {
        let line = said.out.lines().find_map(|line| Some(line.split_once("ssh ")?.1)).unwrap();
        let line = line.split(" > ").next().unwrap().replace("PRIVATE_KEY_FILE", client.path("key").to_str().unwrap());
        let mut ssh = tokio::process::Command::new("ssh");
        let key = format!("-i{}", client.path("key").display());
        finish(ssh.args(["-F", "none", &key]).args(first.split(' ')).args(line.split(' '))).await
    };
    let said = runs(&adds(&alice, &laptop.line()).await, &laptop).await;
    assert!(said.code == Some(0) && said.out.contains("is now a key of alice@example.com"), "{said:?}");
    let config = alice.asks("config").await;
    let said = runs(&config, &alice).await;
    assert!(said.code == Some(0) && said.out == config.out, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_key_does_not_stay_and_an_expired_claim_does_not_sign_in() {
    let bed = Bed::with(|settings| settings.limits.claimed = std::time::Duration::from_millis(500)).await;
    let alice = bed.person("alice").await;
    let laptop = bed.stranger("laptop");
    let past = fairlead_model::Time(clock::now().0 - 3_600_001);
    bed.store.claim_key(&person("alice"), &laptop.public(), "", past).await.unwrap();
    let said = laptop.asks_to_confirm("whoami").await;
    assert!(said.code == Some(255) && said.err.contains("Permission denied"), "{said:?}");
    code(&adds(&alice, &laptop.line()).await);
    let said = laptop.runs(&["-l", "confirm", "-N", GATEWAY_ALIAS]).await;
    assert!(said.code == Some(255) && said.err.contains("this key is not confirmed"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_command_or_no_key_is_refused_with_the_reason() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    for (command, status, why) in [
        ("help", 0, ""),
        ("bash", 2, "`help` lists them"),
        ("ls; id", 2, "`help` lists them"),
        ("ls -la", 2, "usage: ls [--json]"),
        ("scp -t /", 2, "`help` lists them"),
        ("keys remove x", 2, "usage: keys remove"),
        ("keys add ssh-ed25519 x", 1, "the key is damaged"),
        ("keys add command=\"id\" ssh-ed25519 AAAA", 1, "options before the key"),
        ("keys add", 1, "no key given"),
    ] {
        let said = alice.asks(command).await;
        assert!(said.code == Some(status) && said.err.contains(why), "{command}: {said:?}");
    }
    let none = Fingerprint::parse(&format!("SHA256:{}", "A".repeat(43))).unwrap();
    let said = alice.asks(&format!("keys remove {none}")).await;
    assert!(said.code == Some(1) && said.err.contains("you have no such key"), "{said:?}");
    let two = format!("{}{}", alice.line(), alice.line());
    let said = adds(&alice, &two).await;
    assert!(said.code == Some(1) && said.err.contains("one line"), "{said:?}");
    let said = adds(&alice, &"x".repeat(100_000)).await;
    assert!(said.code == Some(1), "{said:?}");
}
