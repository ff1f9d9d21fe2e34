//! x
/// x
pub async fn run(_c: kube::Client) -> anyhow::Result<()> {
    std::future::pending().await
}
