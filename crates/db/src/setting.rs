//! How a setting is read, for the options of every crate: what is wanted is told in words that go behind the variable's name.

use std::{
    ffi::OsString,
    fmt::Display,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{Args, Command, builder::Resettable};

/// Empty is as good as not set. (clap takes a field that is written `Option` for one that may be absent, and would not accept an
/// empty variable.)
pub type Maybe<T> = Option<T>;

/// An option whose value reads well, but can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable} cannot be used: {reason}")]
pub struct Unusable {
    pub variable: &'static str,
    pub reason: String,
}

/// Makes an [`Unusable`] of a reason: for `map_err`.
pub fn unusable<E: Display>(variable: &'static str) -> impl Fn(E) -> Unusable {
    move |reason| Unusable {
        variable,
        reason: reason.to_string(),
    }
}

/// The options that `flags` give, as on a command line; the environment counts for nothing. For programs without a command line, such as
/// tests.
///
/// # Errors
/// When a flag is unknown, or its value can't be used.
pub fn options<O: Args>(
    flags: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<O, clap::Error> {
    let command = O::augment_args(Command::new("options").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    O::from_arg_matches(&command.try_get_matches_from(flags)?)
}

/// Reads a value that `accepts` takes; else it says what it `wants`, in words that go behind the variable's name.
pub fn wants<T: FromStr>(
    wants: impl Display + Clone,
    accepts: impl Fn(&T) -> bool + Clone,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |value| {
        let read = value.parse().ok();
        read.filter(&accepts).ok_or_else(|| wants.to_string())
    }
}

/// The same of a duration, such as `90s`, `10m` or `7d`.
pub fn wants_duration(
    what: impl Display + Clone,
    accepts: impl Fn(Duration) -> bool + Clone,
) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let read = wants(what, move |it: &humantime::Duration| accepts(**it));
    move |value| read(value).map(Into::into)
}

/// # Errors
/// What is wanted.
pub fn boolean(value: &str) -> Result<bool, String> {
    wants("true or false", |_| true)(value)
}

/// A file that is there; whoever uses it reads what is in it.
///
/// # Errors
/// What is wanted.
pub fn file(value: &str) -> Result<Maybe<PathBuf>, String> {
    match PathBuf::from(value) {
        _ if value.is_empty() => Ok(None),
        path if path.is_file() => Ok(Some(path)),
        _ => Err("the path of a file that is there".to_owned()),
    }
}

/// Whether the file exists and holds more than line breaks. One that can't be read counts, so that its error is told.
pub fn has_secret(path: &Path) -> bool {
    match std::fs::read_to_string(path) {
        Ok(text) => !text.trim_end_matches(['\r', '\n']).is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

/// The secret that a file holds, as Docker and Kubernetes give them. Editors and `echo` end the last line; that is no part of it.
///
/// # Errors
/// Why there is none, never what the file holds.
pub fn secret_in(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() || secret.contains(['\r', '\0']) {
        return Err("it holds no line of text".to_owned());
    }
    Ok(secret.to_owned())
}
