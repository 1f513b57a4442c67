//! The commands of the service's own program, as an operator calls them.

use std::process::Stdio;

use anyhow::{Context, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::World;
use crate::domain::TICKETS;

impl World {
    /// A token that the service itself signs.
    pub(crate) async fn token(&self, user: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.program);
        let arguments = ["token", "--user", user, "--ttl", "1d"];
        command.args(arguments).env("JWT_KEY", &self.jwt_key);
        Ok(said(command).await?.trim().to_owned())
    }

    /// A command of `outbox`; what it prints as JSON.
    ///
    /// # Errors
    /// What it says when it fails.
    pub(crate) async fn outbox(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.program);
        command.arg("outbox").args(arguments).arg("--json");
        command
            .env_clear()
            .env("MONGO_URI", &self.observer_uri)
            .env("NATS_URL", self.nats_urls.join(","))
            .env("NATS_STREAM", TICKETS.stream)
            .env("RUST_LOG", "warn");
        let said = said(command).await?;
        serde_json::from_str(&said).with_context(|| format!("{arguments:?} said {said}"))
    }
}

async fn said(mut command: Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = output.await?;
    let says = String::from_utf8_lossy(&output.stderr);
    let line = command.as_std();
    ensure!(output.status.success(), "{line:?}: {}", says.trim());
    Ok(String::from_utf8(output.stdout)?)
}
