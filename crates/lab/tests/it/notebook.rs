//! Notebook Pods without Kubeflow: what the image does must not depend on who made the Pod.
#![expect(clippy::unwrap_used, reason = "a harness that cannot do its work ends the test that uses it")]

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use fairlead_lab::cluster::Cluster;
use fairlead_lab::{images, paths};
use k8s_openapi::api::core::v1::{self, PersistentVolume, Pod, Secret};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::harness::{Person, Said, curl, within};

/// One test's namespace. It goes with this value, with all Pods in it.
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) client: Client,
    cluster: Cluster,
    toucher: Client,
}

/// What differs from a plain notebook Pod; `null` for nothing.
#[derive(Default)]
pub(crate) struct Wish {
    /// The plain notebook image when empty.
    pub(crate) image: &'static str,
    pub(crate) env: Value,
    pub(crate) pod_security: Value,
    pub(crate) security: Value,
    pub(crate) volumes: Value,
    pub(crate) mounts: Value,
}

/// A running Pod whose HTTP server has answered.
pub(crate) struct Notebook {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) prefix: String,
    container: String,
    cluster: Cluster,
    pods: Api<Pod>,
    /// The Pods as somebody sees them who may only patch their status.
    pub(crate) toucher: Api<Pod>,
}

impl Namespace {
    pub(crate) async fn new(test: &str) -> Self {
        let cluster = Cluster::shared().await.unwrap();
        let client = cluster.client().await.unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
        let name = format!("it-{test}-{now}");
        let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        let params = PostParams::default();
        Api::<v1::Namespace>::all(client.clone()).create(&params, &object).await.unwrap();
        let rules = json!([{"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]}]);
        let role = serde_json::from_value(json!({"metadata": {"name": "toucher"}, "rules": rules})).unwrap();
        Api::<Role>::namespaced(client.clone(), &name).create(&params, &role).await.unwrap();
        let binding = json!({"metadata": {"name": "toucher"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "toucher"},
            "subjects": [{"kind": "ServiceAccount", "name": "toucher", "namespace": name}]});
        let binding = serde_json::from_value(binding).unwrap();
        Api::<RoleBinding>::namespaced(client.clone(), &name).create(&params, &binding).await.unwrap();
        let toucher = cluster.client_as(&format!("system:serviceaccount:{name}:toucher")).await.unwrap();
        Self { name, client, cluster, toucher }
    }

    /// A notebook that these people may log in to, by the file in the container.
    pub(crate) async fn notebook(&self, name: &str, people: &[&Person], wish: Wish) -> Notebook {
        let notebook = self.start(name, wish).await;
        let keys: String = people.iter().map(|person| person.public_key()).collect();
        notebook.inside(&format!("cat >/ssh_conf/authorized_keys <<'END'\n{keys}END"));
        notebook.listens().await;
        notebook
    }

    /// A notebook as it starts, with whatever keys its volumes have.
    pub(crate) async fn start(&self, name: &str, wish: Wish) -> Notebook {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.name);
        let image = if wish.image.is_empty() { images::NOTEBOOK } else { wish.image };
        let prefix = format!("/notebook/{}/{name}", self.name);
        let mut env = vec![json!({"name": "NB_PREFIX", "value": prefix})];
        env.extend(wish.env.as_array().into_iter().flatten().cloned());
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "securityContext": wish.pod_security,
                "volumes": wish.volumes,
                "containers": [{
                    "name": "notebook",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "env": env,
                    "securityContext": wish.security,
                    "volumeMounts": wish.mounts,
                }],
            },
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        // A namespace takes no Pod until its ServiceAccount has a token.
        let params = PostParams::default();
        within(20, "the namespace takes a Pod", async || pods.create(&params, &pod).await.ok()).await;
        let running = async || {
            let status = pods.get(name).await.unwrap().status?;
            let container = status.container_statuses?.pop()?;
            if container.state.as_ref().is_some_and(|state| state.terminated.is_some()) || container.restart_count > 0 {
                let params = LogParams { previous: container.restart_count > 0, ..LogParams::default() };
                panic!("the container of `{name}` ended: {}", pods.logs(name, &params).await.unwrap_or_default());
            }
            container.state?.running?;
            Some((status.pod_ip?, container.container_id?))
        };
        let ((address, container), _) = within(60, &format!("the Pod `{name}` runs"), running).await;
        let container = container.trim_start_matches("containerd://").to_owned();
        let (cluster, toucher) = (self.cluster.clone(), Api::namespaced(self.toucher.clone(), &self.name));
        let notebook = Notebook { name: name.into(), address, prefix, container, cluster, pods, toucher };
        within(20, "HTTP on 8888 answers", async || notebook.answers().then_some(())).await;
        notebook
    }

    /// Makes the Secret that [`crate::identity::with_secret`] mounts.
    pub(crate) async fn keeps(&self, files: &Value) {
        let secret = json!({"metadata": {"name": "ssh"}, "stringData": files});
        self.secrets().create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.name)
    }
}

impl Notebook {
    /// Runs a script in the container, not by way of sshd, as the container's own user.
    pub(crate) fn inside(&self, script: &str) -> String {
        self.inside_as(&[], script).unwrap()
    }

    /// The same as another `UID:GID`. An error has what the script said.
    pub(crate) fn inside_as(&self, user: &[&str], script: &str) -> anyhow::Result<String> {
        static RUNS: AtomicUsize = AtomicUsize::new(0);
        let id = format!("it-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let mut ctr = Command::new("ctr");
        ctr.arg("-a").arg(paths::cluster().join("containerd/containerd.sock"));
        ctr.args(["-n", "k8s.io", "tasks", "exec", "--exec-id", &id]);
        ctr.args(user.iter().flat_map(|user| ["--user", user]));
        ctr.args([&self.container, "bash", "-euc", script]);
        self.cluster.node()?.run("running a script in the notebook", &ctr)
    }

    /// Waits until sshd answers.
    pub(crate) async fn listens(&self) {
        let port = format!("{}:2209", self.address);
        within(20, "sshd listens", async || tokio::net::TcpStream::connect(&port).await.ok()).await;
    }

    /// What the stand-in for Jupyter says under its prefix.
    pub(crate) fn http(&self) -> Said {
        curl(&["--max-time", "5", &format!("http://{}:8888{}/", self.address, self.prefix)])
    }

    pub(crate) fn answers(&self) -> bool {
        self.http().out.starts_with("HTTP/1.1 200")
    }

    /// Waits for a line of the Pod's log that has all of `words`.
    pub(crate) async fn logs(&self, words: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(6);
        loop {
            let log = self.log().await;
            if log.lines().any(|line| words.iter().all(|word| line.contains(word))) {
                return;
            }
            assert!(Instant::now() < deadline, "no line of the log of `{}` has {words:?}:\n{log}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn log(&self) -> String {
        self.pods.logs(&self.name, &LogParams::default()).await.unwrap()
    }

    /// How often the container was started again.
    pub(crate) async fn restarts(&self) -> i32 {
        let status = self.pods.get(&self.name).await.unwrap().status.unwrap();
        status.container_statuses.unwrap().iter().map(|container| container.restart_count).sum()
    }

    /// Makes the kubelet look at the Pod's Secrets now, with no right beyond `pods/status`.
    pub(crate) async fn touch(&self) {
        let now = format!("{:?}", SystemTime::UNIX_EPOCH.elapsed().unwrap());
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"fairlead.test/touched": now}}}));
        self.toucher.patch_status(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }
}

impl Drop for Namespace {
    /// Pods first: on Kubernetes 1.20 a namespace with Pods takes a minute to go. Best effort, also after a panic; in a
    /// thread with a client of its own, since a panicking runtime runs nothing more.
    fn drop(&mut self) {
        let (cluster, name) = (self.cluster.clone(), self.name.clone());
        let end = async move {
            let client = cluster.client().await?;
            let (params, all) = (DeleteParams::default().grace_period(0), ListParams::default());
            Api::<Pod>::namespaced(client.clone(), &name).delete_collection(&params, &all).await?;
            let volumes = Api::<PersistentVolume>::all(client.clone());
            volumes.delete_collection(&params, &all.labels(&format!("test={name}"))).await?;
            Api::<v1::Namespace>::all(client).delete(&name, &DeleteParams::default()).await?;
            anyhow::Ok(())
        };
        let _ = std::thread::spawn(|| tokio::runtime::Runtime::new().unwrap().block_on(end)).join();
    }
}
