//! The demo: Fairlead in a real cluster, a Notebook in a profile, and who gets into it by `ssh`.

use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::cluster::{self, Cluster};
use crate::ingress::{Visitor, kept};
use crate::install::{Installed, PAGE, ingress_secret};
use crate::installation::Installation;
use crate::kubeflow::contributor::Role;
use crate::people::Person;
use crate::{node, paths, team};

const NOTEBOOK: &str = "bert";
const HOST: &str = "bert.team-a.notebook";

/// Brings up cluster and Fairlead, two profiles, a Notebook and its people, and shows who gets in. May run twice: what
/// is right already is left alone.
///
/// Writes `kubeconfig`, `page_url` and a folder for each person to `target/demo` of the project.
pub async fn run() -> Result<()> {
    let began = Instant::now();
    let say = |what: &str| tracing::info!("demo {:>5.1} s  {what}", began.elapsed().as_secs_f32());
    say("a cluster on this machine (the first time: images and Kubernetes are built, about ten minutes)");
    let cluster = Cluster::shared().await?;
    let client = cluster.client().await?;
    let dir = folder();
    fs::create_dir_all(&dir).with_context(|| format!("making `{}`", dir.display()))?;
    let kubeconfig = dir.join("kubeconfig");
    fs::copy(&cluster.kubeconfig, &kubeconfig).context("copying the kubeconfig")?;

    say(&format!("Fairlead in it, by the manifests of deploy/{}", Installation::wished()?.manifests()));
    let fairlead = {
        let cluster = cluster.clone();
        tokio::task::spawn_blocking(move || Installed::ensure(&cluster)).await.context("installing Fairlead")??
    };

    say("profile team-a: owner alice, contributor bob (edit), viewer carol; profile team-b: owner dave");
    team::profile(&client, "team-a", "alice@example.com").await?;
    team::profile(&client, "team-b", "dave@example.com").await?;
    team::member(&client, "team-a", "bob@example.com", Role::Edit).await?;
    team::member(&client, "team-a", "carol@example.com", Role::View).await?;
    fairlead.mounts(&client, "team-a").await?;
    say(&format!("the Notebook `{NOTEBOOK}` of team-a"));
    team::notebook(&client, "team-a", NOTEBOOK).await?;

    say("a key for each of them, registered by the admin");
    let authority = fairlead.admin(&["ca", "show"], "")?;
    let mut people = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        let person = Person::prepare(&dir.join("people").join(name), &format!("{name}@example.com"), &authority)?;
        person.register(&fairlead)?;
        people.push(person);
    }
    let ip = team::pod(&client, "team-a", NOTEBOOK).await?.1;
    say(&format!("the Pod runs at {ip}, which nobody needs to know"));

    for person in &people {
        person.configure().await?;
        let name = person.user.trim_end_matches("@example.com");
        let command = "echo \"hello from $(hostname), $(id -un), $NB_PREFIX\"";
        let gets_in = matches!(name, "alice" | "bob");
        // A key reaches a Pod that is just starting a few seconds after it was registered.
        let patience = if gets_in { Duration::from_secs(20) } else { Duration::ZERO };
        match (name, person.ssh_within(patience, HOST, command).await?) {
            ("alice" | "bob", Ok(answer)) => say(&format!("{name}: {}", answer.trim())),
            ("carol" | "dave", Err(refusal)) => say(&format!("{name} is refused: {refusal}")),
            (_, Ok(_)) => bail!("{name} got in, and must not"),
            (_, Err(refusal)) => bail!(
                "{name} did not get in: {refusal}\nhint: KUBECONFIG={} kubectl -n fairlead-system logs -l app.kubernetes.io/name=fairlead",
                kubeconfig.display()
            ),
        }
    }
    let page = page().await?;
    fs::write(dir.join("page_url"), format!("{page}\n")).context("writing the page's address")?;
    say(&format!("the page, in a stand-in for Kubeflow's dashboard: {page} (pick who you are; Notebooks SSH)"));
    say("yours now, as one of them:");
    for person in &people {
        say(&format!("  ssh -F {} {HOST}", person.config().display()));
    }
    say(&format!("and: export KUBECONFIG={}; when you are done: make demo-down", kubeconfig.display()));
    Ok(())
}

/// Starts the ingress before the page, unless it runs, and sees that the page answers. Returns the dashboard's address.
async fn page() -> Result<String> {
    let people = [
        "alice@example.com=team-a",
        "bob@example.com=team-a",
        "carol@example.com=team-a",
        "dave@example.com=team-b",
        "admin@example.com=team-a,team-b",
    ];
    let people: Result<Vec<Visitor>, String> = people.iter().map(|person| person.parse()).collect();
    let people = people.map_err(|error| anyhow!(error))?;
    let start = move || -> Result<String> {
        let address = kept::ensure(&paths::cluster(), &cluster::own_program()?, PAGE, &ingress_secret(), &people)?;
        let mut curl = Command::new("curl");
        curl.args([
            "-sSf",
            "--noproxy",
            "*",
            "--max-time",
            "20",
            "-o",
            "/dev/null",
            "-b",
            "lab-person=alice@example.com",
        ]);
        node::run("asking for the page", curl.arg(format!("http://{address}/fairlead/")))?;
        Ok(format!("http://{address}/"))
    };
    tokio::task::spawn_blocking(start).await.context("starting the ingress")?
}

/// Removes what the demo wrote.
pub fn remove() -> Result<()> {
    match fs::remove_dir_all(folder()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing `{}`", folder().display()))
        }
        _ => Ok(()),
    }
}

/// Waits until an SSH server greets at `address`, and says how long that took.
pub async fn wait_for_sshd(address: SocketAddr, patience: Duration) -> Result<Duration> {
    let began = Instant::now();
    while !greets(address) {
        if began.elapsed() > patience {
            bail!("no SSH server greets at {address} after {} s", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(began.elapsed())
}

fn greets(address: SocketAddr) -> bool {
    let mut greeting = [0; 4];
    let dialled = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    dialled.is_ok_and(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
            && stream.read_exact(&mut greeting).is_ok()
            && &greeting == b"SSH-"
    })
}

fn folder() -> PathBuf {
    paths::project().join("target/demo")
}
