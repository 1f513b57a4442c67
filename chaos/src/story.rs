//! What a failed run leaves for whoever looks into it: one folder, with the broken rules, the operations that show them, the time line,
//! the logs of those moments, and the command that repeats it.

mod logs;
mod operations;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    checker::Violation, clock::Clock, history::Observed, inject::Injected, report::Report,
};

/// Of each rule the first is told.
const MOST_RULES: usize = 20;

/// Of which run, and where it goes.
pub(crate) struct Story<'a> {
    pub(crate) report: &'a Report,
    pub(crate) observed: &'a Observed,
    pub(crate) clock: Clock,
    /// Where the servers and instances have logged.
    pub(crate) logs: &'a Path,
    /// What repeats the run.
    pub(crate) command: &'a str,
    pub(crate) folder: PathBuf,
}

/// A broken rule, about which document, and when.
struct Moment<'a> {
    violation: &'a Violation,
    key: Option<String>,
    at_ms: Option<u64>,
    count: usize,
}

impl Story<'_> {
    /// Writes the folder, which is emptied first.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn write(&self, why: &str) -> anyhow::Result<()> {
        testbed::empty(&self.folder)?;
        let write = |name: &str, text: &[u8]| fs::write(self.folder.join(name), text);
        let moments = self.moments();
        write("README.md", self.told(why, &moments).as_bytes())?;
        write("timeline.txt", self.timeline(&moments).as_bytes())?;
        write("report.json", &serde_json::to_vec_pretty(self.report)?)?;
        let observed = self.observed;
        let history = history_of(observed);
        write("history.json", &serde_json::to_vec(&history)?)?;
        if let Some(sibling) = &observed.sibling {
            let history = history_of(sibling);
            write("history-of-orders.json", &serde_json::to_vec(&history)?)?;
        }
        let times = moments.iter().filter_map(|moment| moment.at_ms);
        let times = times.map(|at_ms| self.clock.date_of(at_ms)).collect();
        logs::copy_around(self.logs, &self.folder.join("logs"), times)?;
        Ok(())
    }

    /// The first violation of each rule.
    fn moments(&self) -> Vec<Moment<'_>> {
        let mut moments: Vec<Moment<'_>> = Vec::new();
        for violation in &self.report.violations {
            let is_same = |other: &&mut Moment<'_>| {
                other.violation.kind == violation.kind && other.violation.what == violation.what
            };
            match moments.iter_mut().find(is_same) {
                Some(known) => known.count += 1,
                None => moments.push(Moment {
                    violation,
                    key: key_of(&violation.documents),
                    at_ms: time_of(&violation.documents),
                    count: 1,
                }),
            }
        }
        moments.truncate(MOST_RULES);
        moments
    }

    fn told(&self, why: &str, moments: &[Moment<'_>]) -> String {
        let seed = self.report.aim.seed;
        let mut text = format!(
            "# Seed {seed}\n\n{why}\n\nAgain:\n\n    {}\n\n`timeline.txt` has the faults, `logs/` what was logged around each moment, \
             `history.json` all that was tried and stored.\n",
            self.command
        );
        for moment in moments {
            let Moment {
                violation, count, ..
            } = moment;
            let kind = crate::report::name(&violation.kind);
            let key = moment.key.as_deref().unwrap_or("-");
            let at = moment
                .at_ms
                .map_or("?".to_owned(), |at_ms| format!("{at_ms} ms"));
            let what = violation.what;
            text += &format!(
                "\n## {kind}: {what}\n\n{count} times; the first at {at}, of document {key}:\n\n"
            );
            let about = (moment.key.as_deref(), moment.at_ms);
            let sibling = self.observed.sibling.as_deref();
            let of_orders = sibling.map(|it| operations::around(it, about.0, about.1));
            let lines = operations::around(self.observed, about.0, about.1);
            for line in lines.into_iter().chain(of_orders.into_iter().flatten()) {
                text += &format!("    {line}\n");
            }
            text += &format!("\n```json\n{:#}\n```\n", violation.documents);
        }
        text
    }

    fn timeline(&self, moments: &[Moment<'_>]) -> String {
        let mut lines: Vec<(u64, String)> = Vec::new();
        for injected in &self.report.injected {
            let Injected {
                fault,
                operation,
                began_ms,
                ended_ms,
                seen,
                ..
            } = injected;
            lines.push((*began_ms, format!("operation {operation}: {fault} begins")));
            let effect = if injected.took_effect() {
                ""
            } else {
                "without effect: "
            };
            lines.push((
                *ended_ms,
                format!("{fault} of operation {operation} ends: {effect}{seen}"),
            ));
        }
        for moment in moments {
            let kind = crate::report::name(&moment.violation.kind);
            let line = format!("FIRST {kind}: {}", moment.violation.what);
            lines.push((moment.at_ms.unwrap_or_default(), line));
        }
        lines.sort();
        let line = |(at_ms, what): &(u64, String)| {
            format!("{:>9} ms  {}  {what}\n", at_ms, self.clock.date_of(*at_ms))
        };
        lines.iter().map(line).collect()
    }
}

/// All that was tried at a service, and stored of it.
fn history_of(observed: &Observed) -> Value {
    json!({
        "attempts": observed.attempts, "reads": observed.reads, "documents": observed.documents,
        "events": observed.events, "messages": observed.messages, "seen": observed.seen,
        "orders": observed.orders, "answers": observed.answers, "planted": observed.planted,
        "known": observed.known,
    })
}

/// The document that a violation is about.
fn key_of(documents: &Value) -> Option<String> {
    let mut key = None;
    visit(documents, &mut |name, value| {
        if key.is_none() && name == "key" {
            key = value.as_str().map(ToOwned::to_owned);
        }
        if key.is_none() && name == "path" {
            let last = value.as_str().and_then(|path| path.rsplit('/').next());
            key = last.filter(|last| last.len() == 24).map(ToOwned::to_owned);
        }
    });
    key
}

/// When it showed: the last time that it names.
fn time_of(documents: &Value) -> Option<u64> {
    let mut last = None;
    visit(documents, &mut |name, value| {
        if ["ended_ms", "stored_ms", "saved_ms", "made_at_ms"].contains(&name) {
            last = last.max(value.as_u64());
        }
    });
    last
}

fn visit(value: &Value, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                see(name, member);
                visit(member, see);
            }
        }
        Value::Array(all) => all.iter().for_each(|one| visit(one, see)),
        _ => {}
    }
}
