//! What a test's thread logs, which all of its tasks run on.

use std::{
    io::{Result, Write},
    sync::{Arc, Mutex},
};

use tracing::subscriber::DefaultGuard;

use crate::wait::eventually;

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// From now until the guard is dropped.
    pub fn capture() -> (Self, DefaultGuard) {
        let log = Self::default();
        let written = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || written.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let log = self.0.lock().unwrap();
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(text));
        lines.map(str::to_owned).collect()
    }

    /// Waits until a line holds `text`; the first such line.
    pub async fn told(&self, text: &str) -> String {
        eventually(text, async || !self.lines_with(text).is_empty()).await;
        self.lines_with(text).remove(0)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}
