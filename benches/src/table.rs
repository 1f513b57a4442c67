//! The figures as a table and as JSON.

use serde::Serialize;

use crate::load::median;

/// One figure, beside its limit where it has one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) name: String,
    unit: &'static str,
    /// The median of the rounds.
    value: f64,
    /// What the minimal loop did in the same rounds; their median.
    limit: Option<f64>,
    /// Value by limit of each round; their median.
    ratio: Option<f64>,
    /// Of the ratio where there is one, else of the value.
    least: f64,
    most: f64,
    target: Option<Target>,
    is_met: bool,
    rounds: Vec<Round>,
}

#[derive(Serialize)]
struct Round {
    value: f64,
    limit: Option<f64>,
}

impl Round {
    fn ratio(&self) -> Option<f64> {
        self.limit.map(|limit| self.value / limit)
    }
}

/// What a figure has to be: its ratio where it has one, else its value.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(target) => value >= target,
            Self::AtMost(target) => value <= target,
        }
    }
}

impl Row {
    fn new(
        name: impl Into<String>,
        unit: &'static str,
        rounds: Vec<Round>,
        target: Option<Target>,
    ) -> Self {
        let value = median(rounds.iter().map(|round| round.value));
        let ratios: Option<Vec<f64>> = rounds.iter().map(Round::ratio).collect();
        let ratio = ratios.as_ref().map(|ratios| median(ratios.iter().copied()));
        let values = rounds.iter().map(|round| round.value);
        let shown = ratios.unwrap_or_else(|| values.collect());
        let is_met = target.is_none_or(|target| target.is_met_by(ratio.unwrap_or(value)));
        Self {
            name: name.into(),
            unit,
            value,
            limit: ratio.map(|_| median(rounds.iter().filter_map(|round| round.limit))),
            ratio,
            least: shown.iter().copied().fold(f64::INFINITY, f64::min),
            most: shown.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            target,
            is_met,
            rounds,
        }
    }

    pub(crate) fn is_met(&self) -> bool {
        self.is_met
    }

    pub(crate) fn print(&self) {
        let optional = |value: Option<f64>| value.map(number).unwrap_or_default();
        let target = match self.target {
            Some(Target::AtLeast(target)) => format!(">= {target}"),
            Some(Target::AtMost(target)) => format!("<= {}", (target * 100.0).round() / 100.0),
            None => String::new(),
        };
        let met = match (self.target, self.is_met) {
            (None, _) => "",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        let range = if self.rounds.len() > 1 {
            format!("{}–{}", number(self.least), number(self.most))
        } else {
            String::new()
        };
        let line = format!(
            "{:<56} {:>8} {:<4} {:>8} {:>6} {:>13} {:>8}  {met}",
            self.name,
            number(self.value),
            self.unit,
            optional(self.limit),
            optional(self.ratio),
            range,
            target,
        );
        println!("{}", line.trim_end());
    }
}

fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 0.2 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

pub(crate) fn print_head() {
    println!(
        "{:<56} {:>8} {:<4} {:>8} {:>6} {:>13} {:>8}",
        "figure", "service", "", "limit", "ratio", "least–most", "target"
    );
}

/// The figure and its limit in each round.
pub(crate) fn compared(
    name: impl Into<String>,
    unit: &'static str,
    rounds: &[(f64, f64)],
    target: Option<Target>,
) -> Row {
    let round = |&(value, limit): &(f64, f64)| Round {
        value,
        limit: Some(limit),
    };
    Row::new(name, unit, rounds.iter().map(round).collect(), target)
}

pub(crate) fn alone(
    name: impl Into<String>,
    unit: &'static str,
    values: impl IntoIterator<Item = f64>,
    target: Option<Target>,
) -> Row {
    let round = |value| Round { value, limit: None };
    Row::new(name, unit, values.into_iter().map(round).collect(), target)
}
