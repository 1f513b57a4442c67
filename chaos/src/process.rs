//! A process of the experiment: started, killed, paused, and started again. What is done to it counts as done only when
//! it was seen: a death by its exit status, a pause by the kernel's word.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, sleep_until, timeout},
};

/// The service gives itself 10 s to drain.
const LONGEST_STOP: Duration = Duration::from_secs(15);
const START_OF_PROCESS: Duration = Duration::from_secs(1);
/// The kernel stops a process a moment after the signal.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;
/// The letter of `/proc/<pid>/stat` for a process that a signal has stopped.
const STOPPED: &str = "T";

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
        if has_crashed {
            self.crashes += 1;
            self.child = None;
        }
        has_crashed
    }

    /// Kill -9.
    ///
    /// # Errors
    /// When it did not die of that.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.running()?;
        child.kill().await?;
        let status = child.wait().await?;
        ensure!(
            status.signal() == Some(SIGKILL),
            "{} was not killed: {status}",
            self.name
        );
        Ok(())
    }

    /// SIGTERM, which must end it with exit code 0.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<()> {
        // Before it listens to signals, SIGTERM is the kernel's to answer.
        sleep_until(self.started + START_OF_PROCESS).await;
        self.signal("-TERM").await?;
        let mut child = self.running()?;
        let ended = timeout(LONGEST_STOP, child.wait()).await;
        if !matches!(&ended, Ok(Ok(status)) if status.success()) {
            self.crashes += 1;
            child.kill().await?;
            bail!("{} did not end well on SIGTERM: {ended:?}", self.name);
        }
        Ok(())
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When the process is not seen to stop.
    pub(crate) async fn pause(&self) -> anyhow::Result<()> {
        self.signal("-STOP").await?;
        let stopped = async {
            while !self.is_stopped() {
                sleep(PAUSE_LIMIT / 200).await;
            }
        };
        let name = &self.name;
        timeout(PAUSE_LIMIT, stopped)
            .await
            .with_context(|| format!("{name} did not stop"))
    }

    pub(crate) async fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT").await
    }

    /// Whether the kernel says that it is stopped.
    pub(crate) fn is_stopped(&self) -> bool {
        let Some(pid) = self.pid() else {
            return false;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the program's name, which is in brackets and may hold anything.
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with(STOPPED))
    }

    /// The running process, which is the caller's to end.
    fn running(&mut self) -> anyhow::Result<Child> {
        self.look();
        let name = &self.name;
        self.child
            .take()
            .with_context(|| format!("{name} was not running"))
    }

    async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let name = &self.name;
        let pid = self
            .pid()
            .with_context(|| format!("{name} was not running"))?;
        let status = Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()
            .await?;
        ensure!(status.success(), "kill {signal} of {name} failed");
        Ok(())
    }
}
