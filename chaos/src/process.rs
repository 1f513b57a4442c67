//! A process of the experiment: started, killed, paused, and started again.

use std::{fs::File, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context, bail, ensure};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until},
};

/// The service gives itself 10 s to drain.
const LONGEST_STOP: Duration = Duration::from_secs(15);
const START_OF_PROCESS: Duration = Duration::from_secs(1);

/// How it is started, and the running process if it runs.
pub(crate) struct Process {
    pub(crate) name: String,
    program: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    /// How often it ended by itself, or not well when it was asked to.
    pub(crate) crashes: u32,
}

impl Process {
    pub(crate) fn new(
        name: String,
        program: PathBuf,
        args: Vec<String>,
        environment: Vec<(String, String)>,
        log: PathBuf,
    ) -> Self {
        Self {
            name,
            program,
            args,
            environment,
            log,
            child: None,
            started: Instant::now(),
            crashes: 0,
        }
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Notes it when the process ended although nobody asked it to; whether it did.
    pub(crate) fn look(&mut self) -> bool {
        let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        let has_crashed = self.child.as_mut().is_some_and(has_ended);
        self.crashes += u32::from(has_crashed);
        has_crashed
    }

    /// Kill -9.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.look();
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM, which must end it with exit code 0.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<()> {
        // Before it listens to signals, SIGTERM is the kernel's to answer.
        sleep_until(self.started + START_OF_PROCESS).await;
        self.look();
        self.signal("-TERM").await?;
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let ended = tokio::time::timeout(LONGEST_STOP, child.wait()).await;
        if !matches!(&ended, Ok(Ok(status)) if status.success()) {
            self.crashes += 1;
            child.kill().await?;
            bail!("{} did not end well on SIGTERM: {ended:?}", self.name);
        }
        Ok(())
    }

    pub(crate) async fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP").await
    }

    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT").await
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        let status = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .await?;
        ensure!(status.success(), "kill {signal} of {} failed", self.name);
        Ok(())
    }
}
