//! `check --page-url`: whether an ingress lets a client say who it is, asked through real ones that do and do not.
#![expect(clippy::unwrap_used, reason = "what fails here ends its test")]

use fairlead_lab::ingress::{Ingress, IngressSettings};
use fairlead_server::check::{Level, PageCheck, look_at_page};
use tokio::net::TcpListener;

use crate::databases::Database;
use crate::page_bed::{PageBed, SECRET};

/// What is found about the page behind the stand-in for Kubeflow's ingress, asked by dave.
async fn found(url: &str, groups: Option<&str>) -> Vec<(Level, String)> {
    let check = PageCheck {
        url: url.to_owned(),
        cookie: "lab-person=dave@example.com".to_owned(),
        user_header: "kubeflow-userid".to_owned(),
        user_prefix: String::new(),
        group: groups.map(|header| (header.to_owned(), "ml-admins".to_owned())),
    };
    look_at_page(&check).await.into_iter().map(|finding| (finding.level, finding.what)).collect()
}

async fn behind_an_ingress(groups: Option<&str>) -> (PageBed, String, Database) {
    let database = Database::sqlite();
    let store = database.open().await;
    let flags: Vec<&str> = groups
        .iter()
        .flat_map(|header| ["--page-admin-group-header", header, "--page-admin-group", "ml-admins"])
        .collect();
    let bed = PageBed::start(store, &flags).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fairlead/", listener.local_addr().unwrap());
    let (upstream, settings) = (bed.address.to_string(), IngressSettings { secret: SECRET.to_owned(), people: vec![] });
    tokio::spawn(async move { Ingress::serve(listener, &upstream, settings).await });
    (bed, url, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ingress_that_sets_every_header_itself_is_fine() {
    let (_bed, url, _database) = behind_an_ingress(Some("kubeflow-groups")).await;
    let found = found(&url, Some("kubeflow-groups")).await;
    assert!(found.iter().all(|(level, _)| *level == Level::Ok), "{found:?}");
    assert_eq!(found.len(), 4);
    assert!(found[0].1.contains("`dave@example.com`"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_groups_that_the_ingress_does_not_strip_is_a_failure() {
    let (bed, url, _database) = behind_an_ingress(Some("x-groups")).await;
    let found = found(&url, Some("x-groups")).await;
    let last = found.last().unwrap();
    assert_eq!(last.0, Level::Fail, "{found:?}");
    assert!(last.1.contains("anybody can be anybody") && last.1.contains("`x-groups`"), "{found:?}");
    // And so it is: whoever sends it is an admin.
    let admin = bed.get("dave", "/admin").await;
    assert_eq!(admin.status, 404, "{admin:?}");
    let forged = bed.request("dave", http::Method::GET, "/admin").header("x-groups", "others, ml-admins");
    assert_eq!(bed.send(forged.body(String::new().into()).unwrap()).await.status, 200);
    let twice = bed.request("dave", http::Method::GET, "/admin").header("x-groups", "ml-admins");
    let twice = twice.header("x-groups", "ml-admins").body(String::new().into()).unwrap();
    assert_eq!(bed.send(twice).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_signed_in_hears_what_to_give() {
    let (_bed, url, _database) = behind_an_ingress(None).await;
    let mut check = PageCheck {
        url,
        cookie: String::new(),
        user_header: "kubeflow-userid".to_owned(),
        user_prefix: String::new(),
        group: None,
    };
    let found = look_at_page(&check).await;
    assert!(found.len() == 1 && found[0].level == Level::Fail && found[0].what.contains("302"), "{found:?}");
    assert!(found[0].fix.as_ref().unwrap().contains("--page-cookie"), "{found:?}");
    check.url = "http://127.0.0.1:9/".to_owned();
    let away = look_at_page(&check).await;
    assert!(away.len() == 1 && away[0].what.contains("does not answer"), "{away:?}");
}
