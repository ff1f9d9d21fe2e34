//! The small size of the lab, by its real etcd and API server.

use fairlead_lab::control_plane::{self, ControlPlane};
use fairlead_lab::process::Process;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DynamicObject, GroupVersionKind, PostParams};
use kube::core::ApiResource;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_run_at_once_and_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(ControlPlane::start(), ControlPlane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let maps =
        async |plane: &ControlPlane| -> Api<ConfigMap> { Api::namespaced(plane.client().await.unwrap(), "default") };
    let (in_one, in_two) = (maps(&one).await, maps(&two).await);
    let map = serde_json::from_value(json!({"metadata": {"name": "only-here"}, "data": {"a": "b"}})).unwrap();
    in_one.create(&PostParams::default(), &map).await.unwrap();
    assert!(in_one.get_opt("only-here").await.unwrap().is_some());
    assert!(in_two.get_opt("only-here").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_takes_notebooks_and_keeps_fields_it_does_not_know() {
    let plane = ControlPlane::start().await.unwrap();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("kubeflow.org", "v1", "Notebook"));
    let notebooks: Api<DynamicObject> = Api::namespaced_with(plane.client().await.unwrap(), "default", &kind);
    let notebook = json!({"apiVersion": "kubeflow.org/v1", "kind": "Notebook", "metadata": {"name": "bert"},
        "spec": {"template": {"spec": {"containers": [{"name": "bert", "image": "any"}]}}}});
    notebooks.create(&PostParams::default(), &serde_json::from_value(notebook).unwrap()).await.unwrap();
    let read = notebooks.get("bert").await.unwrap();
    assert_eq!(read.data["spec"]["template"]["spec"]["containers"][0]["image"], "any");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_control_plane_leaves_no_process_and_no_folder() {
    let plane = ControlPlane::start().await.unwrap();
    let dir = plane.kubeconfig.parent().unwrap().parent().unwrap().to_owned();
    let processes = Process::of(&dir);
    assert_eq!(processes.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["etcd", "kube-apiserver"]);
    assert!(processes.iter().all(Process::alive));
    drop(plane);
    assert!(!processes.iter().any(Process::alive));
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crashed_caller_left_is_removed_by_the_next_start() {
    let plane = ControlPlane::start().await.unwrap();
    let dir = plane.kubeconfig.parent().unwrap().parent().unwrap().to_owned();
    // As after a crash: nothing dropped it, and its owner's pid now has another start time.
    std::fs::write(dir.join("owner"), "1 1").unwrap();
    std::mem::forget(plane);
    let processes = Process::of(&dir);
    let next = ControlPlane::start().await.unwrap();
    assert!(!processes.iter().any(Process::alive));
    assert!(!dir.exists());
    assert!(next.kubeconfig.exists(), "the new one stays");
    assert!(control_plane::list().unwrap().iter().any(|(dir, owned)| *owned && next.kubeconfig.starts_with(dir)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = format!("{:#}", ControlPlane::start_on(port).await.unwrap_err());
    assert!(error.contains(&format!("port {port} of loopback is taken")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_goes_and_comes_back_with_what_it_knew() {
    let plane = ControlPlane::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), "default");
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    plane.stop_server().unwrap();
    assert!(maps.get("kept").await.is_err());
    plane.start_server().await.unwrap();
    assert_eq!(maps.get("kept").await.unwrap().metadata.name.as_deref(), Some("kept"));
}
