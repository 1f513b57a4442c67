//! The log, on standard error. Nobody ever waits for it: where whoever reads it has stopped reading, lines are dropped and counted.

use std::{
    fmt,
    io::{IsTerminal, stderr},
    sync::mpsc::channel,
    thread,
    time::Duration,
};

use db::printable;
use metrics::{counter, describe_counter};
use tokio::time::interval;
use tracing::{Subscriber, field::Field};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::MakeExt,
    filter::{FilterExt, dynamic_filter_fn},
    fmt::format::{Writer, debug_fn},
    registry::LookupSpan,
};

use crate::{
    options::{LogFormat, LogOptions},
    telemetry::OwnLines,
};

const LINES_DROPPED: &str = "log_lines_dropped_total";
/// Lines that wait to be written: some hundred kilobytes.
const BUFFERED_LINES: usize = 2_048;
const COUNT_INTERVAL: Duration = Duration::from_secs(1);
/// A last line on standard error that is not written by then is given up.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(1);

/// The log's layer; what writes the rest of it when dropped; and how many lines were dropped.
pub(crate) fn layer<S>(options: &LogOptions) -> (impl Layer<S> + use<S>, Rest, ErrorCounter)
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let lines = NonBlockingBuilder::default()
        .thread_name("log")
        .buffered_lines_limit(BUFFERED_LINES);
    let (writer, rest) = lines.finish(stderr());
    let dropped = writer.error_counter();
    let log = tracing_subscriber::fmt::layer().with_writer(writer);
    let log = match options.log_format {
        LogFormat::Text => log
            .with_ansi(is_coloured())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
    };
    let own = OwnLines::default();
    let filter = filter(&options.rust_log).and(dynamic_filter_fn(move |line, _| own.is_told(line)));
    (log.with_filter(filter), Rest(Some(rest)), dropped)
}

/// The NATS client says with each attempt, and with each message that is denied, what `messaging` says once: left out, where not
/// more is asked for.
fn filter(directives: &str) -> EnvFilter {
    let filter = EnvFilter::new(directives);
    let directives = directives.to_lowercase();
    // Of everything, or of the client; more of another part says nothing of it.
    let asks = |directive: &str| {
        let directive = directive.trim();
        directive.starts_with("async_nats") || ["debug", "trace", "4", "5"].contains(&directive)
    };
    match "async_nats=off".parse() {
        Ok(off) if !directives.split(',').any(asks) => filter.add_directive(off),
        _ => filter,
    }
}

/// What others wrote makes no line of its own, and no terminal obeys it.
fn write_field(to: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = printable(&format!("{value:?}"));
    match field.name() {
        "message" => to.write_str(&value),
        // Of the `log` crate's: the line has them already.
        name if name.starts_with("log.") => Ok(()),
        name => write!(to, "{name}={value}"),
    }
}

/// On a terminal, unless its user wants none (<https://no-color.org>).
fn is_coloured() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    stderr().is_terminal() && !is_unwanted
}

pub(crate) fn describe() {
    describe_counter!(
        LINES_DROPPED,
        "Log lines that were dropped, since nobody read what was written before."
    );
}

/// Counts for ever.
pub(crate) async fn count(dropped: ErrorCounter) {
    let mut looks = interval(COUNT_INTERVAL);
    loop {
        looks.tick().await;
        counter!(LINES_DROPPED).absolute(dropped.dropped_lines() as u64);
    }
}

/// A panic's lines too: the standard library would write them itself, and wait.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(%trace, "{panic}");
    }));
}

/// Lines that wait to be written when the process ends. What nobody reads in time is given up.
pub(crate) struct Rest(Option<WorkerGuard>);

impl Drop for Rest {
    fn drop(&mut self) {
        let rest = self.0.take();
        for_a_moment(move || drop(rest));
    }
}

/// A line before there is a log, or the last line of a process.
pub(crate) fn last_line(line: String) {
    for_a_moment(move || eprintln!("{line}"));
}

/// Nobody may read what is written: a thread waits for that. What comes of it, where it ended in time.
pub(crate) fn for_a_moment<T: Send + 'static>(
    write: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (written, is_written) = channel();
    thread::spawn(move || written.send(write()));
    is_written.recv_timeout(LAST_LINE_LIMIT).ok()
}
