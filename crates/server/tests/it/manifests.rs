//! What the overlays of `deploy` come to, by real kustomize, and what a real API server and the dashboard's menu make
//! of it.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fairlead_lab::control_plane::ControlPlane;
use fairlead_lab::paths;
use serde_json::{Value, json};

/// As docs/install.md has it.
const MAKE_SECRET: &str = r#"kubectl create configmap ingress-secret --from-literal=secret="$(openssl rand -hex 32)" \
  --dry-run=client -o yaml |
  kubectl annotate --local -f - config.kubernetes.io/local-config=true -o yaml > ingress-secret.yaml
"#;
const HEADER: &str = "x-fairlead-ingress";

/// Runs a script of bash with something to read; what it printed.
#[track_caller]
pub(crate) fn bash(script: &str, folder: &Path, input: &str, kubeconfig: Option<&Path>) -> String {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder);
    if let Some(kubeconfig) = kubeconfig {
        command.env("KUBECONFIG", kubeconfig);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// All objects of a folder below `deploy`.
pub(crate) fn shipped(overlay: &str) -> Vec<Value> {
    objects(&bash(&format!("kubectl kustomize {overlay}"), &deploy(), "", None))
}

/// The folder of the manifests.
pub(crate) fn deploy() -> PathBuf {
    paths::project().join("deploy")
}

/// A way to install Fairlead: what of `deploy` an admin's own overlay takes, and where the page is then.
pub(crate) struct Way {
    pub(crate) overlay: &'static str,
    pub(crate) components: &'static [&'static str],
    front: &'static str,
    parts: &'static str,
}

const ALL_IN_ONE: (&str, &str) = ("fairlead", "operator,webhook,gateway,page");
const FRONT: (&str, &str) = ("fairlead-front", "gateway,page");

/// All ways that have the page.
pub(crate) const WAYS: [Way; 6] = [
    way("overlays/kubeflow", &[], ALL_IN_ONE),
    way("overlays/kubeflow-own-host", &[], ALL_IN_ONE),
    way("overlays/kubeflow-own-host", &["network-policies"], ALL_IN_ONE),
    way("overlays/production", &["page-in-dashboard"], FRONT),
    way("overlays/production", &["page-own-host", "network-policies"], FRONT),
    way("overlays/production", &["network-policies", "page-in-dashboard"], FRONT),
];

const fn way(overlay: &'static str, components: &'static [&'static str], page: (&'static str, &'static str)) -> Way {
    Way { overlay, components, front: page.0, parts: page.1 }
}

/// All objects of an admin's own overlay, made as the docs say; and its secret.
pub(crate) fn installed(way: &Way) -> (Vec<Value>, String) {
    let docs = fs::read_to_string(paths::project().join("docs/install.md")).unwrap();
    assert!(docs.replace("\n    ", "\n").contains(MAKE_SECRET), "docs/install.md has another command");
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(paths::project().join("deploy"), dir.path().join("deploy")).unwrap();
    bash(MAKE_SECRET, dir.path(), "", None);
    let made: Value =
        serde_saphyr::from_str(&fs::read_to_string(dir.path().join("ingress-secret.yaml")).unwrap()).unwrap();
    let components: String = way.components.iter().flat_map(|name| ["  - deploy/", name, "\n"]).collect();
    let overlay = way.overlay;
    let own = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: fairlead-system\n\
         resources:\n  - deploy/{overlay}\n  - ingress-secret.yaml\ncomponents:\n{components}  - deploy/ingress-secret\n"
    );
    fs::write(dir.path().join("kustomization.yaml"), own).unwrap();
    let text = bash("kubectl kustomize .", dir.path(), "", None);
    (objects(&text), made["data"]["secret"].as_str().unwrap().to_owned())
}

pub(crate) fn objects(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

#[track_caller]
pub(crate) fn one<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let mut found = all.iter().filter(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    let first = found.next().unwrap_or_else(|| panic!("no {kind} {name}"));
    assert!(found.next().is_none(), "two of {kind} {name}");
    first
}

/// The route to the page: the last, so that it takes nobody else's paths.
fn page_route(all: &[Value]) -> &Value {
    let routes = one(all, "VirtualService", "fairlead")["spec"]["http"].as_array().unwrap();
    assert!(routes[..routes.len() - 1].iter().all(|route| route.get("headers").is_none()), "{routes:?}");
    routes.last().unwrap()
}

fn variables(all: &[Value], deployment: &str) -> BTreeMap<String, Value> {
    let container = &one(all, "Deployment", deployment)["spec"]["template"]["spec"]["containers"][0];
    let variables = container["env"].as_array().unwrap().iter();
    let all: BTreeMap<_, _> = variables.map(|one| (one["name"].as_str().unwrap().to_owned(), one.clone())).collect();
    assert_eq!(all.len(), container["env"].as_array().unwrap().len(), "one of them twice");
    all
}

#[test]
fn ingress_and_server_get_the_same_secret_and_no_other_object_has_it() {
    for way in &WAYS {
        let overlay = way.overlay;
        let (all, secret) = installed(way);
        assert!(secret.len() == 64 && secret.chars().all(|c| c.is_ascii_hexdigit()), "{secret}");
        assert_eq!(one(&all, "Secret", "fairlead-ingress")["stringData"], json!({"secret": secret}));
        // `set`, not `add`: the client's own value is gone.
        assert_eq!(page_route(&all)["headers"], json!({"request": {"set": {HEADER: secret}}}), "{overlay}");
        let holders: Vec<_> =
            all.iter().filter(|one| one.to_string().contains(&secret)).map(|one| &one["kind"]).collect();
        assert_eq!(holders.len(), 2, "{overlay}: {holders:?}");
        assert!(
            all.iter().all(|one| one["kind"] != "ConfigMap" && !one.to_string().contains("CHANGE-ME")),
            "{overlay}"
        );
        let expected = json!({"secretKeyRef": {"name": "fairlead-ingress", "key": "secret"}});
        assert_eq!(variables(&all, way.front)["FAIRLEAD_PAGE_INGRESS_SECRET"]["valueFrom"], expected);
        assert_eq!(variables(&all, way.front)["FAIRLEAD_PARTS"]["value"], way.parts);
    }
}

#[test]
fn the_server_refuses_the_secret_that_is_shipped_and_takes_the_one_that_is_made() {
    let said = |secret: &Value| {
        let mut server = Command::new(env!("CARGO_BIN_EXE_fairlead-server"));
        server.args(["serve", "--parts", "page"]).env_clear().env("FAIRLEAD_KUBECONFIG", "/nowhere");
        server
            .env("FAIRLEAD_DATABASE", "sqlite:/nowhere/db")
            .env("FAIRLEAD_PAGE_INGRESS_SECRET", secret.as_str().unwrap());
        let output = server.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    for overlay in ["overlays/kubeflow", "overlays/kubeflow-own-host"] {
        let all = shipped(overlay);
        let refusal = said(&one(&all, "Secret", "fairlead-ingress")["stringData"]["secret"]);
        assert!(refusal.contains("the ingress's secret is still the placeholder"), "{refusal}");
        let (_, made) = installed(&way(overlay, &[], ALL_IN_ONE));
        let other = said(&json!(made));
        assert!(!other.contains("secret") && other.contains("/nowhere"), "{other}");
    }
}

#[test]
fn the_base_alone_has_no_page() {
    let all = shipped("base");
    assert_eq!(variables(&all, "fairlead")["FAIRLEAD_PARTS"]["value"], "operator,webhook,gateway");
    assert!(!all.iter().any(|one| one.to_string().contains("page")), "{all:?}");
}

#[test]
fn the_page_is_reached_where_the_overlay_says() {
    let all = shipped("overlays/kubeflow");
    let service = &one(&all, "VirtualService", "fairlead")["spec"];
    assert_eq!((&service["gateways"], &service["hosts"]), (&json!(["kubeflow/kubeflow-gateway"]), &json!(["*"])));
    assert_eq!(page_route(&all)["match"], json!([{"uri": {"prefix": "/fairlead/"}}]));
    let host = "fairlead-page.fairlead-system.svc.cluster.local";
    assert_eq!(page_route(&all)["route"], json!([{"destination": {"host": host, "port": {"number": 8080}}}]));
    assert!(!variables(&all, "fairlead").contains_key("FAIRLEAD_PAGE_HOST"));
    // The Service leads to a port that the container has.
    let service = &one(&all, "Service", "fairlead-page")["spec"];
    let container = &one(&all, "Deployment", "fairlead")["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_array().unwrap();
    let port = ports.iter().find(|port| port["name"] == service["ports"][0]["targetPort"]).unwrap();
    assert_eq!((&port["containerPort"], &service["ports"][0]["port"]), (&json!(8080), &json!(8080)));

    let all = shipped("overlays/kubeflow-own-host");
    let name = "fairlead.example.com";
    let gateway = &one(&all, "Gateway", "fairlead")["spec"]["servers"];
    assert_eq!(gateway[0]["hosts"], json!([format!("fairlead-system/{name}")]), "no other namespace's routes");
    let service = &one(&all, "VirtualService", "fairlead")["spec"];
    assert_eq!((&service["gateways"], &service["hosts"]), (&json!(["fairlead"]), &json!([name])));
    assert_eq!(page_route(&all)["match"], json!([{"uri": {"prefix": "/"}}]));
    assert_eq!(variables(&all, "fairlead")["FAIRLEAD_PAGE_HOST"]["value"], name);
    assert_eq!(variables(&all, "fairlead")["FAIRLEAD_PAGE_PREFIX"]["value"], "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_api_server_takes_what_the_overlays_come_to() {
    let plane = ControlPlane::start().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    bash("kubectl create namespace fairlead-system", dir.path(), "", Some(&plane.kubeconfig));
    let served = bash("kubectl api-versions", dir.path(), "", Some(&plane.kubeconfig));
    for way in &WAYS {
        let known = |one: &Value| {
            let version = one["apiVersion"].as_str().unwrap();
            // Kubernetes has PodDisruptionBudgets of this version from 1.21 on; Istio's kinds are nobody's here.
            let newer = version == "policy/v1" && !served.lines().any(|other| other == version);
            !newer && !version.starts_with("networking.istio.io/")
        };
        let items: Vec<Value> = installed(way).0.into_iter().filter(known).collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
        let said =
            bash("kubectl apply --server-side --dry-run=server -f -", dir.path(), &list, Some(&plane.kubeconfig));
        assert_eq!(said.lines().count(), items.len(), "{said}");
        for object in [&format!("deployment.apps/{}", way.front), "networkpolicy.networking.k8s.io/fairlead-page"] {
            assert!(said.contains(&format!("{object} serverside-applied")), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menu_gets_one_item_and_keeps_the_others() {
    let plane = ControlPlane::start().await.unwrap();
    let docs = fs::read_to_string(paths::project().join("docs/install.md")).unwrap();
    let run = |script: &str, input: &str| bash(script, &paths::project(), input, Some(&plane.kubeconfig));
    run("kubectl create namespace kubeflow", "");
    let item = |link: &str| json!({"type": "item", "link": link, "text": link, "icon": "book"});
    let section = json!({"type": "section", "text": "Pipelines", "items": [item("/pipeline/#/runs")]});
    for (name, links) in [
        ("dashboard-config", vec![item("/jupyter/"), item("/volumes/"), section.clone()]),
        ("centraldashboard-config", vec![item("/volumes/"), section]),
        ("another-config", Vec::new()),
    ] {
        let before =
            json!({"menuLinks": links, "externalLinks": [], "quickLinks": [{"text": "x", "link": "/jupyter/"}]});
        let data = json!({"settings": "{\"DASHBOARD_FORCE_IFRAME\": true}",
            "links": serde_json::to_string_pretty(&before).unwrap()});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": name, "namespace": "kubeflow", "labels": {"app": "dashboard"}}});
        run("kubectl create -f -", &map.to_string());
        let filter = |which: &str| {
            let command = "kubectl -n kubeflow get configmap dashboard-config -o json |\n  jq -f deploy/menu/add.jq | \
                           kubectl replace -f -\n";
            assert!(docs.replace("\n    ", "\n").contains(command), "docs/install.md has another command");
            run(&command.replace("dashboard-config", name).replace("add", which), "");
            let after = run(&format!("kubectl -n kubeflow get configmap {name} -o json"), "");
            let after: Value = serde_json::from_str(&after).unwrap();
            assert_eq!(after["data"]["settings"], data["settings"]);
            assert_eq!(after["metadata"]["labels"], map["metadata"]["labels"]);
            serde_json::from_str::<Value>(after["data"]["links"].as_str().unwrap()).unwrap()
        };
        for _ in 0..2 {
            let mut after = filter("add");
            let menu = after["menuLinks"].as_array_mut().unwrap();
            let at = menu.iter().position(|item| item["link"] == "/fairlead/").unwrap();
            let ours = menu.remove(at);
            assert_eq!((&ours["type"], &ours["text"]), (&json!("item"), &json!("Notebooks SSH")));
            if name == "dashboard-config" {
                assert_eq!(menu[at - 1]["link"], "/jupyter/");
            }
            assert_eq!(after, before, "{name}");
        }
        assert_eq!(filter("remove"), before);
        assert_eq!(filter("remove"), before);
    }
}
