//! Sets the log up: one subscriber for the process, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// Installs the log for the whole process; a second call changes nothing.
pub fn init(config: &LogConfig) {
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&config.rust_log));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // The only failure is a subscriber that is there already.
    drop(match config.log_format {
        LogFormat::Text => registry
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    });
}
