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

/// The value where it is accepted.
///
/// # Errors
/// What is wanted.
pub fn text(
    value: &str,
    wants: impl Display,
    accepts: impl Fn(&str) -> bool,
) -> Result<String, String> {
    if accepts(value) {
        Ok(value.to_owned())
    } else {
        Err(wants.to_string())
    }
}

/// What is read of the value, where it is accepted.
///
/// # Errors
/// What is wanted.
pub fn parsed<T: FromStr>(
    value: &str,
    wants: &str,
    accepts: impl Fn(&T) -> bool,
) -> Result<T, String> {
    let parsed = value.parse().ok();
    parsed.filter(accepts).ok_or_else(|| wants.to_owned())
}

/// # Errors
/// What is wanted.
pub fn boolean(value: &str) -> Result<bool, String> {
    parsed(value, "true or false", |_| true)
}

/// A duration that `fits`, such as `90s`, `10m` or `7d`.
///
/// # Errors
/// What is wanted.
pub fn duration(
    value: &str,
    wants: &str,
    fits: impl Fn(&Duration) -> bool,
) -> Result<Duration, String> {
    let duration = humantime::parse_duration(value).ok();
    duration.filter(fits).ok_or_else(|| wants.to_owned())
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
