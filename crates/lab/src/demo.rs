//! The demo.

use anyhow::Result;

/// x
pub async fn run() -> Result<()> {
    tokio::task::yield_now().await;
    Ok(())
}
/// x
pub fn remove() -> Result<()> {
    Ok(())
}
