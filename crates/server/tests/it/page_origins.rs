//! What differs between a page that shares its origin with notebooks and one at a host name of its own.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use axum::body::Body;
use axum::http::Method;

use crate::databases::Database;
use crate::page_bed::PageBed;

/// `GET` as root, by a host name.
async fn by(bed: &PageBed, host: &str, path: &str) -> (u16, String) {
    let request = bed.request("root", Method::GET, path).header("host", host).body(Body::empty()).unwrap();
    let answer = bed.send(request).await;
    (answer.status.as_u16(), answer.text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_its_own_host_answers_to_no_other() {
    let database = Database::sqlite();
    let bed = PageBed::start_unseen(database.open().await, &["--page-host", "fairlead.example.com"]).await;
    for (host, status) in [
        ("fairlead.example.com", 200),
        ("FAIRLEAD.example.com:443", 200),
        ("kubeflow.example.com", 421),
        ("fairlead.example.com.evil.example.com", 421),
        ("", 421),
    ] {
        let (is, text) = by(&bed, host, "/api/v1/me").await;
        assert_eq!(is, status, "{host}: {text}");
        assert!(status == 200 || text.contains("other-host"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_an_admin_where_notebooks_can_script_the_page() {
    let database = Database::sqlite();
    let store = database.open().await;
    let bed = PageBed::start_with(store.clone(), &["--page-admins", "root@example.com"]).await;
    assert_eq!(bed.get("root", "/admin").await.status, 404);
    assert!(bed.get("root", "/api/v1/me").await.text.contains("\"admin\":false"));
    let given = ["--page-admins", "root@example.com", "--page-admin-on-shared-origin"];
    let bed = PageBed::start_with(store.clone(), &given).await;
    assert_eq!(bed.get("root", "/admin").await.status, 200);
    let given = ["--page-admins", "root@example.com", "--page-host", "127.0.0.1"];
    let bed = PageBed::start_with(store, &given).await;
    assert_eq!(bed.get("root", "/admin").await.status, 200);
}
