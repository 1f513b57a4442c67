//! Secrets: from the environment, from `.env`, or from a file that `NAME_FILE` names, as Docker and Kubernetes give them. Never from a flag:
//! every user of the machine can read the command line of a process.

use std::fs;

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use crate::dotenv;

/// By the names that clap knows them by; in capitals they are variables.
const SECRETS: [&str; 4] = ["mongo_uri", "nats_url", "jwt_key", "jwt_key_previous"];

/// Sets the variables whose values stand in files. They are read once: restart after a change. Call it before any thread starts.
///
/// # Errors
/// One line that names the variable, never what the file holds.
pub(crate) fn load() -> Result<(), String> {
    for id in SECRETS {
        let (variable, file) = names(id);
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let Some(path) = set(&file) else {
            continue;
        };
        if set(&variable).is_some() {
            return Err(format!("{variable} and {file} are both set: keep one"));
        }
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("{file} cannot be used: {error}"))?;
        // Editors and `echo` end the last line; that is no part of the secret.
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() || secret.contains(['\r', '\0']) {
            return Err(format!("{file} cannot be used: it holds no line of text"));
        }
        dotenv::set(&variable, secret)?;
    }
    Ok(())
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
