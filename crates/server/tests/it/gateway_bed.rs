//! A whole gateway on loopback, a world of five people and two notebooks, and a real sshd in place of each Pod.
//!
//! A Pod's address may not be loopback (the model refuses that), so each sshd listens on the address of a bridge of its
//! own, which has no ports and is gone again with this value.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead_model::client_config::{GATEWAY_ALIAS, GatewayAddress, known_hosts};
use fairlead_model::identity::{Authority, HostIdentity, Master, host_identity};
use fairlead_model::world::{Member, Namespace, Notebook, Pod, Profile, Shown, StatefulSet, Switch};
use fairlead_model::{Fact, HostSuffix, Label, NotebookId, Person, Role, Time, World};
use fairlead_server::clock;
use fairlead_server::gateway::{Gateway, Limits, Settings};
use fairlead_server::ledger::{self, Facts, Worlds};
use fairlead_server::metrics::Metrics;
use fairlead_server::recorder::Recorder;
use fairlead_server::serve::feed_rows;
use fairlead_server::store::Store;
use fairlead_server::store::audit::AuditEvent;
use fairlead_server::store::sessions::{SessionBegin, SessionEnd};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gateway_person::Client;

/// What the gateway says before a sign-in.
pub(crate) const BANNER: &str = "Keys are registered at https://kubeflow.example.com/fairlead";

/// The whole.
pub(crate) struct Bed {
    pub(crate) facts: Facts,
    pub(crate) worlds: Worlds,
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) gateway: Option<JoinHandle<anyhow::Result<()>>>,
    pub(crate) identity: watch::Sender<HostIdentity>,
    pub(crate) known_hosts: watch::Sender<String>,
    pub(crate) bert: Sshd,
    pub(crate) ernie: Sshd,
    pub(crate) authority: Authority,
    metrics: Arc<Metrics>,
    _dir: TempDir,
}

/// A real sshd on an interface of its own.
pub(crate) struct Sshd {
    pub(crate) ip: IpAddr,
    device: String,
    child: Option<Child>,
}

impl Bed {
    /// With the limits of a production gateway.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With some of its own.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("sqlite:{}/fairlead.db", dir.path().display())).await.unwrap();
        Self::on(dir, store, change).await
    }

    /// With another database.
    pub(crate) async fn on(dir: TempDir, store: Store, change: impl FnOnce(&mut Settings)) -> Self {
        let (facts, worlds) = ledger::start(World::default());
        tokio::spawn(feed_rows(store.clone(), facts.clone()));
        let authority = Authority::from_openssh(&Authority::generate(&[9; 32]).unwrap()).unwrap();
        let bert = Sshd::start(dir.path(), "bert", &identity_of(&authority, "bert.team-a.notebook"));
        let ernie = Sshd::start(dir.path(), "ernie", &identity_of(&authority, "ernie.team-b.notebook"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (known_hosts, lines) = watch::channel(known_hosts(&HostSuffix::default(), &authority.public_line()));
        let (identity, identities) = watch::channel(identity_of(&authority, GATEWAY_ALIAS));
        let mut settings = settings(address);
        change(&mut settings);
        let shutdown = CancellationToken::new();
        let metrics = Arc::new(Metrics::new());
        let gateway = Gateway {
            worlds: worlds.clone(),
            store: store.clone(),
            recorder: Recorder::start(store.clone()),
            identity: identities,
            known_hosts: lines,
            settings,
            metrics: metrics.clone(),
        };
        let gateway = Some(tokio::spawn(gateway.run(listener, shutdown.clone())));
        let bed = Self {
            facts,
            worlds,
            store,
            address,
            shutdown,
            gateway,
            identity,
            known_hosts,
            bert,
            ernie,
            authority,
            metrics,
            _dir: dir,
        };
        bed.populate().await;
        bed
    }

    /// A second gateway of the same world, as another process has it with its own connections to the database; it
    /// lives as long as the first.
    pub(crate) async fn beside(&self, store: Store) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gateway = Gateway {
            worlds: self.worlds.clone(),
            recorder: Recorder::start(store.clone()),
            store,
            identity: self.identity.subscribe(),
            known_hosts: self.known_hosts.subscribe(),
            settings: settings(address),
            metrics: Arc::default(),
        };
        tokio::spawn(gateway.run(listener, self.shutdown.clone()));
        address
    }

    /// Somebody with another confirmed key, who comes by another gateway.
    pub(crate) async fn confirmed_at(&self, gateway: SocketAddr, name: &str) -> Client {
        let client = Client::new(name, "ed25519", gateway, &self.authority.public_line());
        self.confirmed(name, &client).await;
        client
    }

    /// alice owns team-a with the notebook bert, bob edits there, carol views; erin owns team-b with ernie; dave is
    /// nobody in either.
    async fn populate(&self) {
        for (space, owner, notebook, ip) in
            [("team-a", "alice", "bert", self.bert.ip), ("team-b", "erin", "ernie", self.ernie.ip)]
        {
            let name = label(space);
            let owner = Some(person(owner));
            self.fact(Fact::Profile(name.clone(), Some(Profile { owner: owner.clone() }))).await;
            self.fact(Fact::Namespace(name.clone(), Some(Namespace { owner, ssh: Switch::Unset, created: Time(1) })))
                .await;
            self.fact(Fact::Notebook(id(space, notebook), Some(running(notebook)))).await;
            let set = StatefulSet { namespace: name.clone(), notebook: format!("notebook-{notebook}") };
            self.fact(Fact::StatefulSet(format!("set-{notebook}"), Some(set))).await;
            self.fact(Fact::Pod(name, format!("{notebook}-0"), Some(pod(notebook, "1", ip)))).await;
        }
        self.member("bob", Some(Role::Edit)).await;
        self.member("carol", Some(Role::View)).await;
    }

    /// Tells the ledger.
    pub(crate) async fn fact(&self, fact: Fact) {
        self.facts.send(fact).await.unwrap();
    }

    /// Gives somebody a role in team-a, or takes it.
    pub(crate) async fn member(&self, who: &str, role: Option<Role>) {
        let member = role.map(|role| Member { person: person(who), role });
        self.fact(Fact::Member(label("team-a"), format!("binding-{who}"), member)).await;
    }

    /// Somebody with a confirmed key, which the gateway knows already.
    pub(crate) async fn person(&self, name: &str) -> Client {
        let client = self.stranger(name);
        self.confirmed(name, &client).await;
        client
    }

    /// Makes a client's key count.
    pub(crate) async fn confirmed(&self, name: &str, client: &Client) {
        self.store.add_key(&person(name), &client.public(), "", Time(1)).await.unwrap();
        let fingerprint = client.public().fingerprint().clone();
        let mut worlds = self.worlds.clone();
        worlds.wait_for(|world| world.person_of(&fingerprint).is_some()).await.unwrap();
    }

    /// Somebody whose key nobody knows.
    pub(crate) fn stranger(&self, name: &str) -> Client {
        self.client_with(name, "ed25519")
    }

    /// The same with a key of another type.
    pub(crate) fn client_with(&self, name: &str, kind: &str) -> Client {
        Client::new(name, kind, self.address, &self.authority.public_line())
    }

    /// Waits until a session's end is in the database.
    pub(crate) async fn ended_session(&self) -> (SessionBegin, SessionEnd) {
        eventually("a session's end in the database", async || {
            let sessions = self.store.list_sessions(None, 1).await.unwrap();
            sessions.into_iter().find_map(|(begin, end)| Some((begin, end?)))
        })
        .await
    }

    /// Waits until an event is in the database.
    pub(crate) async fn audited(&self, event: &str, detail: &str) -> AuditEvent {
        eventually(&format!("the audit event {event} {detail}"), async || {
            let events = self.store.list_audit(1000).await.unwrap();
            events.into_iter().find(|line| line.event == event && line.detail.as_deref() == Some(detail))
        })
        .await
    }

    /// Bytes that went from notebooks to clients so far.
    pub(crate) fn bytes_down(&self) -> u64 {
        let down = fairlead_server::metrics::Direction { direction: "down" };
        self.metrics.session_bytes.get_or_create_owned(&down).get()
    }

    /// An identity for the gateway that differs from the one it has.
    pub(crate) fn other_identity(&self) -> HostIdentity {
        host_identity(&master(), &self.authority, "other", 0, GATEWAY_ALIAS, clock::now()).unwrap()
    }

    /// Waits until a metric has this value.
    pub(crate) async fn measures(&self, line: &str) {
        eventually(&format!("the metric {line}"), async || {
            let text = self.metrics.text().unwrap();
            text.lines().any(|other| other == line).then_some(())
        })
        .await;
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if let Some(gateway) = &self.gateway {
            gateway.abort();
        }
    }
}

impl Sshd {
    /// Starts one with its files in `dir`. It lets anybody in whom the network lets through.
    pub(crate) fn start(dir: &Path, name: &str, identity: &HostIdentity) -> Self {
        let (device, ip) = Self::interface();
        let at = dir.join(name);
        std::fs::create_dir(&at).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let write = |file: &str, text: &str| std::fs::write(at.join(file), text).unwrap();
        write("key", &identity.private);
        write("key-cert.pub", &identity.certificate);
        write("key.pub", &identity.public);
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(at.join("key"), private).unwrap();
        let at = at.display();
        // Anybody's key opens it: what these tests show is whom the gateway lets through.
        let config = format!(
            "ListenAddress {ip}:2209\nHostKey {at}/key\nHostCertificate {at}/key-cert.pub\nPidFile none\nUsePAM no\n\
             PermitRootLogin yes\nStrictModes no\nAuthorizedKeysFile none\nAuthorizedKeysCommandUser root\n\
             AuthorizedKeysCommand /bin/echo %t %k\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             SetEnv NOTEBOOK={name}\nLogLevel VERBOSE\nMaxStartups 100\n"
        );
        std::fs::write(dir.join(format!("{name}.conf")), config).unwrap();
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(dir.join(format!("{name}.conf")))
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = lines.find(|line| line.as_ref().unwrap().contains("Server listening"));
        assert!(listening.is_some(), "sshd did not start");
        // Its log has to be read on, or it would wait for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { ip, device, child: Some(child) }
    }

    /// An address where nothing listens.
    pub(crate) fn absent() -> Self {
        let (device, ip) = Self::interface();
        Self { ip, device, child: None }
    }

    /// A bridge without ports, with one address of 198.18.0.0/15, the range for benchmarks, where nothing else lives.
    fn interface() -> (String, IpAddr) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let device = format!("flg{process}x{number}");
        let ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + ((process & 0x3ff) << 7) + number + 1);
        ip_command(&["link", "add", &device, "type", "bridge"]);
        ip_command(&["addr", "add", &format!("{ip}/32"), "dev", &device]);
        ip_command(&["link", "set", &device, "up"]);
        (device, ip.into())
    }

    /// Stops the sshd where it is, or lets it go on: connections are accepted by the kernel all the same.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.as_ref().and_then(|child| i32::try_from(child.id()).ok()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Ends the sshd; the address stays.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
        ip_command(&["link", "del", &self.device]);
    }
}

fn ip_command(words: &[&str]) {
    let status = Command::new("ip").args(words).status().unwrap();
    assert!(status.success(), "ip {words:?}");
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap_or_else(|_| panic!("waiting for {what}"))
}

pub(crate) fn person(name: &str) -> Person {
    Person::parse(&format!("{name}@example.com")).unwrap()
}

pub(crate) fn label(name: &str) -> Label {
    Label::parse(name).unwrap()
}

pub(crate) fn id(namespace: &str, name: &str) -> NotebookId {
    NotebookId::parse(namespace, name).unwrap()
}

pub(crate) fn running(notebook: &str) -> Notebook {
    Notebook { uid: format!("notebook-{notebook}"), stopped: false, ssh: Switch::Unset, shown: Shown::default() }
}

pub(crate) fn pod(notebook: &str, uid: &str, ip: IpAddr) -> Pod {
    Pod {
        uid: format!("pod-{notebook}-{uid}"),
        stateful_set: format!("set-{notebook}"),
        ip: Some(ip),
        ending: false,
        running: true,
        mounted: [(notebook.to_owned(), format!("fairlead-{notebook}"))].into(),
    }
}

/// Those of a production gateway.
fn settings(address: SocketAddr) -> Settings {
    Settings {
        address: GatewayAddress::parse(&address.to_string()).unwrap(),
        suffix: HostSuffix::default(),
        banner: BANNER.to_owned(),
        drain: Duration::from_secs(2),
        keep_records: Duration::from_hours(24),
        limits: Limits::default(),
    }
}

pub(crate) fn master() -> Master {
    Master::from_bytes(&[7; 32]).unwrap()
}

pub(crate) fn identity_of(authority: &Authority, principal: &str) -> HostIdentity {
    identity_at(authority, principal, 0)
}

/// The same at an epoch.
pub(crate) fn identity_at(authority: &Authority, principal: &str, epoch: u64) -> HostIdentity {
    host_identity(&master(), authority, principal, epoch, principal, clock::now()).unwrap()
}
