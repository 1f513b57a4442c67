//! The command `healthcheck`: for images without a shell.

use std::{net::SocketAddr, time::Duration};

use anyhow::ensure;

/// Asks a service on this machine whether it is ready. Where it listens on all addresses, that is this machine too.
pub(crate) async fn healthcheck(address: SocketAddr) -> anyhow::Result<()> {
    // A proxy of the environment's is for others.
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(3));
    let request = client
        .build()?
        .get(format!("http://{address}/health/ready"));
    let answer = request.send().await.map_err(|error| {
        if error.is_timeout() {
            anyhow::anyhow!("no answer in 3 s")
        } else {
            error.into()
        }
    });
    let status = answer?.status();
    ensure!(status.is_success(), "not ready: {status}");
    Ok(())
}
