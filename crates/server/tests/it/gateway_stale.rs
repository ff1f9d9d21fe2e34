//! A world that is older than the cluster: the address of a Pod is another tenant's by now.

use fairlead_model::Fact;

use crate::gateway_bed::{Bed, label, pod};

const BERT: &str = "bert.team-a.notebook";

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_another_tenant_has_by_now_gets_no_session_and_no_key() {
    let bed = Bed::start().await;
    let alice = bed.person("alice").await;
    alice.gets_into(BERT).await.is_in("bert");
    // The sshd of team-b answers there, and takes anybody's key.
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(pod("bert", "2", bed.ernie.ip)))).await;
    let said = alice.runs(&["-v", BERT, "echo in $NOTEBOOK"]).await;
    said.is_refused("Host key verification failed");
    assert!(said.err.contains("name is not a listed principal"), "{said:?}");
    // Nor does a "yes" help: the check is not asked about.
    let said = alice.runs(&["-oBatchMode=no", BERT, "echo in $NOTEBOOK"]).await;
    said.is_refused("Host key verification failed");
    bed.fact(Fact::Pod(label("team-a"), "bert-0".to_owned(), Some(pod("bert", "3", bed.bert.ip)))).await;
    alice.gets_into(BERT).await.is_in("bert");
}
