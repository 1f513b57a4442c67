//! An axis: what it shows, from where to where, and where its ticks stand.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// Between so many times as much and as little, a logarithmic axis has ticks at 2 and 5 too.
const FEW_DECADES: f64 = 1e4;
/// Beyond the smallest and the largest value, on a logarithmic axis.
const ROOM: f64 = 1.4;

/// What is shown in one direction.
#[derive(Debug, Clone)]
pub struct Axis {
    /// With its unit.
    pub name: String,
    range: Option<Range<f64>>,
    is_logarithmic: bool,
    tick: fn(f64) -> String,
}

impl Axis {
    /// From 0 to the largest value.
    pub fn linear(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            range: None,
            is_logarithmic: false,
            tick: number,
        }
    }

    /// From a little below the smallest value; what is not above 0 can't be shown.
    pub fn logarithmic(name: impl Into<String>) -> Self {
        Self {
            is_logarithmic: true,
            ..Self::linear(name)
        }
    }

    /// From here to there, whatever the values are.
    #[must_use]
    pub fn over(mut self, range: Range<f64>) -> Self {
        self.range = Some(range);
        self
    }

    /// Of milliseconds, shown as a person says them.
    #[must_use]
    pub fn of_durations(mut self) -> Self {
        self.tick = duration;
        self
    }

    pub(crate) fn tick(&self, value: f64) -> String {
        (self.tick)(value)
    }

    pub(crate) fn can_show(&self, value: f64) -> bool {
        value.is_finite() && (value > 0.0 || !self.is_logarithmic)
    }

    /// The axis as it is drawn, with room for each of `values`.
    pub(crate) fn scale(&self, values: impl Iterator<Item = f64>) -> Scale {
        let values: Vec<f64> = values.filter(|it| self.can_show(*it)).collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        let range = match &self.range {
            Some(range) => range.clone(),
            None if most == 0.0 && self.is_logarithmic => 1.0..10.0,
            None if most == 0.0 => 0.0..1.0,
            None if self.is_logarithmic => {
                let least = values.iter().copied().fold(most, f64::min);
                least / ROOM..most * ROOM
            }
            None => 0.0..most * 1.08,
        };
        Scale {
            range,
            is_logarithmic: self.is_logarithmic,
        }
    }
}

/// An axis whose ends are known.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    range: Range<f64>,
    is_logarithmic: bool,
}

impl Scale {
    fn ticks(&self, most: usize) -> Vec<f64> {
        let Range { start, end } = self.range;
        let shown = |tick: &f64| (start..=end).contains(tick);
        if self.is_logarithmic {
            let steps: &[f64] = if end / start < FEW_DECADES {
                &[1.0, 2.0, 5.0]
            } else {
                &[1.0]
            };
            let decades = start.log10().floor() as i32..=end.log10().ceil() as i32;
            let ticks = decades.flat_map(|it| steps.iter().map(move |step| step * 10f64.powi(it)));
            return ticks.filter(shown).collect();
        }
        let rough = (end - start) / most.max(1) as f64;
        let decade = 10f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let step = steps.into_iter().find(|it| *it >= rough).unwrap_or(rough);
        let first = (start / step).ceil() as i64;
        let ticks = (first..).map(|number| number as f64 * step);
        ticks.take_while(|tick| *tick <= end).collect()
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let of = |value: f64| {
            if self.is_logarithmic {
                value.log10()
            } else {
                value
            }
        };
        let (start, end) = (of(self.range.start), of(self.range.end));
        let share = (of(*value) - start) / (end - start);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.max_num_points())
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// A number as a person reads it: thousands apart, three digits or so.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() >= 1000.0 {
        let digits = format!("{:.0}", value.abs());
        let mut text = String::new();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        return if value < 0.0 {
            format!("-{text}")
        } else {
            text
        };
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn duration(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{} ms", number(ms))
    } else {
        format!("{} s", number(ms / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_stand_at_round_numbers_and_within_the_axis() {
        let linear = Axis::linear("").scale([7.0, 93.0].into_iter());
        assert_eq!(linear.ticks(6), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let part = Axis::linear("").over(13.0..31.0).scale(std::iter::empty());
        assert_eq!(part.ticks(4), [15.0, 20.0, 25.0, 30.0]);
        let few = Axis::logarithmic("").scale([1.0, 256.0].into_iter());
        assert_eq!(
            few.ticks(9),
            [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
        );
        let many = Axis::logarithmic("").scale([2.0, 5e6].into_iter());
        let powers = [10.0, 100.0, 1e3, 1e4, 1e5, 1e6];
        assert_eq!(many.ticks(9), powers);
    }

    #[test]
    fn what_is_not_above_zero_has_no_place_on_a_logarithmic_axis() {
        let axis = Axis::logarithmic("");
        assert!(!axis.can_show(0.0) && !axis.can_show(f64::NAN) && axis.can_show(0.1));
        assert!(Axis::linear("").can_show(0.0));
    }

    #[test]
    fn durations_have_the_unit_that_suits_them() {
        let axis = Axis::logarithmic("").of_durations();
        let ticks = [2.0, 500.0, 1e3, 5e5, 2e6].map(|ms| axis.tick(ms));
        assert_eq!(ticks, ["2 ms", "500 ms", "1 s", "500 s", "2,000 s"]);
    }

    #[test]
    fn numbers_have_thousands_apart_and_no_idle_zeros() {
        let numbers = [0.0, 0.25, 12.0, 12.5, 999.0, 1000.0, 1_234_567.0, -4000.0];
        let texts = [
            "0",
            "0.25",
            "12",
            "12.5",
            "999",
            "1,000",
            "1,234,567",
            "-4,000",
        ];
        assert_eq!(numbers.map(number), texts);
    }
}
