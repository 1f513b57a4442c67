//! The commands of a service's own program, as an operator calls them.

use std::{path::PathBuf, process::Stdio};

use anyhow::{Context, ensure};
use mongodb::Database;
use serde_json::Value;
use tokio::process::Command;

use super::World;
use crate::domain::Service;

/// What operators look after: the outbox of a service.
pub(crate) struct Outbox {
    pub(crate) service: Service,
    pub(crate) database: Database,
    pub(super) program: PathBuf,
    pub(super) mongo_uri: String,
    pub(super) nats_url: String,
}

impl World {
    /// A token that the service itself signs.
    pub(crate) async fn token(&self, user: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.outbox().program);
        let arguments = ["token", "--user", user, "--ttl", "1d"];
        command.args(arguments).env("JWT_KEY", &self.jwt_key);
        Ok(said(command).await?.trim().to_owned())
    }
}

impl Outbox {
    /// A command of `outbox`; what it prints as JSON.
    ///
    /// # Errors
    /// What it says when it fails.
    pub(crate) async fn command(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut command = Command::new(&self.program);
        command.arg("outbox").args(arguments).arg("--json");
        command
            .env_clear()
            .env("MONGO_URI", &self.mongo_uri)
            .env("NATS_URL", &self.nats_url)
            .env("NATS_STREAM", self.service.stream)
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
