//! Secrets: from the environment, from `.env`, or from a file that `NAME_FILE` names, as Docker and Kubernetes give them. Never from a flag:
//! every user of the machine can read the command line of a process.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgMatches, Command, parser::ValueSource};
use db::setting::{has_secret, secret_in};

use crate::dotenv;

/// By the names that clap knows them by; in capitals they are variables.
const SECRETS: [&str; 5] = [
    "mongo_uri",
    "nats_url",
    "jwt_key",
    "jwt_key_previous",
    "admin_token",
];

/// Secrets that could not be read, with a line about each that names the variable and never what the file holds.
pub(crate) struct Unread(Vec<(&'static str, String)>);

/// Sets the variables whose values stand in files; what connections begin with is read once. Call it before any thread starts.
pub(crate) fn load() -> Unread {
    let unread = SECRETS
        .into_iter()
        .filter_map(|id| Some((id, read(id).err()?)));
    Unread(unread.collect())
}

fn read(id: &str) -> Result<(), String> {
    let (variable, file) = names(id);
    let Some(path) = file_of(id) else {
        return Ok(());
    };
    if set(&variable).is_some() {
        return Err(format!("{variable} and {file} are both set: keep one"));
    }
    // The key of before is taken away with its file's content, or with its file.
    if id == "jwt_key_previous" && !has_secret(&path) {
        return Ok(());
    }
    let secret = secret_in(&path).map_err(|reason| format!("{file} cannot be used: {reason}"))?;
    dotenv::set(&variable, &secret)
}

impl Unread {
    /// The first of those that the subcommand takes: for the others it does not matter.
    pub(crate) fn of(&self, read: &ArgMatches) -> Option<&str> {
        let is_taken = |(id, _): &&(&str, String)| matches!(read.try_contains_id(id), Ok(true));
        let taken = self.0.iter().find(is_taken).map(|(_, line)| line.as_str());
        taken.or_else(|| self.of(read.subcommand()?.1))
    }

    /// Why a variable has no value, where a line says that it wants one.
    pub(crate) fn behind(&self, told: &str) -> Option<&str> {
        let variable = told.split(' ').next();
        let is_it = |(id, _): &&(&str, String)| variable == Some(&names(id).0);
        self.0.iter().find(is_it).map(|(_, line)| line.as_str())
    }
}

/// The file that a variable's value came from.
pub(crate) fn file_of(id: &str) -> Option<PathBuf> {
    set(&names(id).1).map(PathBuf::from)
}

fn set(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// A secret is not among the flags that help shows.
pub(crate) fn hidden(arg: Arg) -> Arg {
    let is_secret = SECRETS.contains(&arg.get_id().as_str());
    if is_secret { arg.hide(true) } else { arg }
}

/// Help has a part of its own for the secrets that a command takes.
pub(crate) fn explained(command: Command) -> Command {
    let mut text = String::new();
    for arg in command.get_arguments() {
        let (id, help) = (arg.get_id().as_str(), arg.get_help());
        if let (true, Some(help)) = (SECRETS.contains(&id), help) {
            let (variable, file) = names(id);
            text += &format!("\n      {variable}, or the path of its file in {file}: {help}\n");
        }
    }
    if text.is_empty() {
        return command;
    }
    let text = format!("Secrets, from the environment or .env, never from a flag:\n{text}");
    command.after_help(text)
}

/// The line that refuses a secret on the command line.
pub(crate) fn by_flag(read: &ArgMatches) -> Option<String> {
    let is_given = |id: &&&str| {
        matches!(read.try_contains_id(id), Ok(true))
            && read.value_source(id) == Some(ValueSource::CommandLine)
    };
    let given = SECRETS.iter().find(is_given).map(|id| {
        let ((variable, file), flag) = (names(id), id.replace('_', "-"));
        format!("--{flag} is not taken: every user of this machine can read a command line; set {variable} or {file}")
    });
    given.or_else(|| by_flag(read.subcommand()?.1))
}

/// The variable that holds it, and the one that names its file.
fn names(id: &str) -> (String, String) {
    let variable = id.to_ascii_uppercase();
    let file = format!("{variable}_FILE");
    (variable, file)
}
