//! The flags of the consumers: each is named after its consumer, and names the stream.

use clap::{Arg, ArgMatches, Args, Command};
use messaging::{Consumer, stream_name};

use crate::{Context, Service};

/// Commands that run consumers.
const CONSUMING: [&str; 2] = ["serve", "consume"];
/// What a process of `consume` does not use.
const OF_PUBLISHERS: [&str; 3] = ["nats_stream", "nats_replicas", "nats_duplicate_window"];

fn flag<O>(consumer: &Consumer<Context<O>>) -> Arg {
    let (name, stream) = (consumer.name(), consumer.stream());
    let variable = id(name).to_ascii_uppercase();
    Arg::new(id(name))
        .long(format!("{}-stream", name.replace('_', "-")))
        .env(variable.clone())
        .value_name(variable)
        .default_value(stream)
        .value_parser(stream_name)
        .help(format!("JetStream stream that the consumer `{name}` consumes. It is waited for where there is none"))
}

fn id(consumer: &str) -> String {
    format!("{consumer}_stream")
}

impl<O: Args> Service<O> {
    /// Adds the consumers' flags. A service without consumers has neither them nor the commands.
    pub(crate) fn with_consumers(&self, command: Command) -> Command {
        if self.consumers.is_empty() {
            let without =
                |command: Command| command.mut_arg("no_consumers", |flag| flag.hide(true));
            let hidden = |command: Command| command.hide(true);
            return command
                .mut_subcommand("serve", without)
                .mut_subcommand("consume", hidden)
                .mut_subcommand("inbox", hidden);
        }
        let command = command.mut_subcommand("consume", |command| {
            OF_PUBLISHERS.iter().fold(command, |command, id| {
                command.mut_arg(id, |arg| arg.hide(true))
            })
        });
        CONSUMING.iter().fold(command, |command, name| {
            command.mut_subcommand(name, |command| {
                command.args(self.consumers.iter().map(flag))
            })
        })
    }

    /// The streams that the command line names, in the order of the consumers.
    pub(crate) fn streams(&self, read: &ArgMatches) -> Vec<String> {
        let Some((_, read)) = read.subcommand() else {
            return Vec::new();
        };
        let stream = |consumer: &Consumer<Context<O>>| {
            let given = read.try_get_one::<String>(&id(consumer.name()));
            given.ok().flatten().cloned()
        };
        self.consumers.iter().filter_map(stream).collect()
    }
}
