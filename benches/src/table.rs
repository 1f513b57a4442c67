//! The figures as a table and as JSON.

use serde::Serialize;

use crate::load::median;

/// One figure, beside its limit where it has one.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    /// What the minimal loop did in the same round.
    pub(crate) limit: Option<f64>,
    /// Value by limit: the median of the rounds.
    pub(crate) ratio: Option<f64>,
    pub(crate) target: Option<Target>,
}

/// What a figure has to be: its ratio where it has one, else its value.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Row {
    pub(crate) fn is_met(&self) -> bool {
        let value = self.ratio.unwrap_or(self.value);
        match self.target {
            Some(Target::AtLeast(target)) => value >= target,
            Some(Target::AtMost(target)) => value <= target,
            None => true,
        }
    }

    pub(crate) fn print(&self) {
        let number = |value: f64| match value {
            value if value >= 100.0 => format!("{value:.0}"),
            value => format!("{value:.2}"),
        };
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let target = match self.target {
            Some(Target::AtLeast(target)) => format!(">= {target}"),
            Some(Target::AtMost(target)) => format!("<= {target}"),
            None => String::new(),
        };
        let met = match (self.target, self.is_met()) {
            (None, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        println!(
            "{:<46} {:>10} {:<9} {:>10} {:>7} {:>9}  {met}",
            self.name,
            number(self.value),
            self.unit,
            optional(self.limit),
            optional(self.ratio),
            target,
        );
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<46} {:>10} {:<9} {:>10} {:>7} {:>9}",
        "figure", "service", "", "limit", "ratio", "target"
    );
}

/// The figure and its limit in each round; their medians, and the median of their ratios.
pub(crate) fn compared(
    name: impl Into<String>,
    unit: &'static str,
    rounds: &[(f64, f64)],
    target: Option<Target>,
) -> Row {
    Row {
        name: name.into(),
        value: median(rounds.iter().map(|(value, _)| *value)),
        unit,
        limit: Some(median(rounds.iter().map(|(_, limit)| *limit))),
        ratio: Some(median(rounds.iter().map(|(value, limit)| value / limit))),
        target,
    }
}

pub(crate) fn alone(
    name: impl Into<String>,
    unit: &'static str,
    values: impl IntoIterator<Item = f64>,
    target: Option<Target>,
) -> Row {
    Row {
        name: name.into(),
        value: median(values),
        unit,
        limit: None,
        ratio: None,
        target,
    }
}
