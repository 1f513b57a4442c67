//! A process: started, killed, paused, and started again. What is done to it counts as done only when it was seen: a death
//! by its exit status, a pause by the kernel's word.

use std::{
    fs::{self, File},
    io::{PipeReader, PipeWriter, Write, pipe},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::{NamedTempFile, TempPath};
use tokio::time::{sleep, sleep_until};

use crate::wait::{DEADLINE, LOOK_AGAIN_AFTER, within};

/// The service gives itself 10 s to drain.
const LONGEST_STOP: Duration = Duration::from_secs(15);
const START_OF_PROCESS: Duration = Duration::from_secs(1);
/// The kernel stops a process a moment after the signal.
const PAUSE_LIMIT: Duration = Duration::from_secs(2);
const SIGKILL: i32 = 9;
/// The letter of `/proc/<pid>/stat` for a process that a signal has stopped.
const STOPPED: &str = "T";
/// How much of a log is shown when a test fails.
const LAST_LINES: usize = 20;

/// The path of a server's program, which `scripts/services bin` has fetched.
///
/// # Panics
/// When it is not there.
pub fn program(name: &str) -> PathBuf {
    let services = std::env::var_os("SERVICES_DIR").unwrap_or_else(|| ".services".into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let path = root.unwrap().join(services).join("bin").join(name);
    let shown = path.display();
    assert!(
        path.exists(),
        "there is no {shown}: scripts/services bin fetches it"
    );
    path
}

/// How it is started, and the running process if it runs. It is killed when this is dropped.
pub struct Process {
    pub name: String,
    command: Command,
    log: PathBuf,
    child: Option<Child>,
    started: Instant,
    /// How often it ended by itself, or not well when it was asked to.
    pub crashes: u32,
    unread: Option<(PipeReader, PipeWriter)>,
    _temporary: Option<TempPath>,
}

impl Process {
    /// One that was never started. What it prints is appended to `log`.
    pub fn new(name: &str, command: Command, log: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            command,
            log,
            child: None,
            started: Instant::now(),
            crashes: 0,
            unread: None,
            _temporary: None,
        }
    }

    /// Starts it, with a log that goes when it goes. `command` is used up.
    pub fn logged(command: &mut Command) -> Self {
        let command = std::mem::replace(command, Command::new("used-up"));
        let log = NamedTempFile::new().unwrap().into_temp_path();
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = Self::new(&name, command, log.to_path_buf());
        process._temporary = Some(log);
        process.start();
        process
    }

    /// Starts it with a pipe for what it prints, which nobody reads. `command` is used up.
    pub fn unread(command: &mut Command) -> Self {
        let command = std::mem::replace(command, Command::new("used-up"));
        let name = command.get_program().to_string_lossy().into_owned();
        let mut process = Self::new(&name, command, PathBuf::new());
        let (reader, writer) = pipe().unwrap();
        let mut filler = writer.try_clone().unwrap();
        process.unread = Some((reader, writer));
        // To the last byte: it ends when nobody could read it any more.
        std::thread::spawn(move || filler.write_all(&[b'.'; 1024 * 1024]));
        process.start();
        process
    }

    /// # Panics
    /// When it runs already, or can't be started.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log: OwnedFd = match &self.unread {
            Some((_, pipe)) => pipe.try_clone().unwrap().into(),
            None => {
                let log = File::options().create(true).append(true).open(&self.log);
                log.unwrap().into()
            }
        };
        let command = self.command.stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        self.child = Some(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
        self.started = Instant::now();
    }

    /// Sets a variable of its environment, or takes it away, for when it is started next.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.command.env(name, value),
            None => self.command.env_remove(name),
        };
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// All that it has printed.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The first line of its log that holds `text`, as soon as it is there.
    ///
    /// # Panics
    /// When it is not there in time, or the process ends before.
    pub fn told(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let has_crashed = self.look();
            let log = self.log();
            let mut lines = log.split_inclusive('\n').filter(|it| it.ends_with('\n'));
            if let Some(line) = lines.find(|line| line.contains(text)) {
                return line.trim_end().to_owned();
            }
            assert!(!has_crashed, "it ended before it said: {text}");
            assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {text}");
            std::thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    /// Notes it when the process ended although nobody asked it to; whether it did.
    pub fn look(&mut self) -> bool {
        let has_ended = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        let has_crashed = self.child.as_mut().is_some_and(has_ended);
        if has_crashed {
            self.crashes += 1;
            self.child = None;
        }
        has_crashed
    }

    /// # Panics
    /// When it does not run.
    pub fn signal(&self, signal: &str) {
        let pid = self.pid().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &pid]).status();
        assert!(status.unwrap().success(), "kill {signal} of {}", self.name);
    }

    /// Kill -9.
    ///
    /// # Errors
    /// When it did not die of that.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.look();
        let mut child = self.child.take().with_context(|| self.was_not_running())?;
        child.kill()?;
        let status = child.wait()?;
        let was_killed = status.signal() == Some(SIGKILL);
        ensure!(was_killed, "{} was not killed: {status}", self.name);
        Ok(())
    }

    /// SIGTERM, which must end it with exit code 0.
    ///
    /// # Errors
    /// When it does not, or did not run.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        // Before it listens to signals, SIGTERM is the kernel's to answer.
        sleep_until((self.started + START_OF_PROCESS).into()).await;
        self.look();
        self.pid().with_context(|| self.was_not_running())?;
        self.signal("-TERM");
        let ended = self.ended_within(LONGEST_STOP).await;
        if !matches!(&ended, Ok(status) if status.success()) {
            self.crashes += 1;
            self.child.take().map_or(Ok(()), |mut child| child.kill())?;
            bail!("{} did not end well on SIGTERM: {ended:?}", self.name);
        }
        Ok(())
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it does not end in time, or did not run.
    pub async fn ended(&mut self) -> ExitStatus {
        self.ended_within(DEADLINE).await.unwrap()
    }

    async fn ended_within(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            let child = self.child.as_mut();
            let child = child.with_context(|| format!("{} was not running", self.name))?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "it still runs");
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When the process is not seen to stop.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.pid().with_context(|| self.was_not_running())?;
        self.signal("-STOP");
        within(PAUSE_LIMIT, "it stops", || async {
            ensure!(self.is_stopped(), "{} did not stop", self.name);
            Ok(())
        })
        .await
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.pid().with_context(|| self.was_not_running())?;
        self.signal("-CONT");
        Ok(())
    }

    /// Whether the kernel says that it is stopped.
    pub fn is_stopped(&self) -> bool {
        let Some(pid) = self.pid() else {
            return false;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state follows the program's name, which is in brackets and may hold anything.
        stat.rsplit(") ")
            .next()
            .is_some_and(|rest| rest.starts_with(STOPPED))
    }

    fn was_not_running(&self) -> String {
        format!("{} was not running", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = fs::read(&self.log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
            eprintln!("{} said last:\n{}", self.name, last.join("\n"));
        }
    }
}

#[cfg(test)]
mod tests;
