//! A price in whole cents, read from the digits of a JSON number and never computed as a float.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

const MAX_CENTS: i64 = 100_000_000;

/// More than 0 and at most 1,000,000, in cents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    cents: i64,
}

impl Price {
    /// `None` where it is out of bounds.
    pub fn from_cents(cents: i64) -> Option<Self> {
        (1..=MAX_CENTS).contains(&cents).then_some(Self { cents })
    }

    /// The price in cents, from 1 to 100,000,000.
    pub fn cents(self) -> i64 {
        self.cents
    }

    /// Reads the text of a JSON number, exponents included: `20.5`, `2.05e1`. `None` where it is no number,
    /// has more than two decimals that count, or is out of bounds.
    pub fn parse(number: &str) -> Option<Self> {
        // No price needs more; it bounds the work on hostile digits.
        const MAX_LENGTH: usize = 400;
        if number.len() > MAX_LENGTH || !number.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        // How many digits stand right of the cent: those must be zeros.
        let excess = i64::try_from(fraction.len())
            .ok()?
            .checked_sub(exponent.parse().ok()?)?
            .checked_sub(2)?;
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        let trailing_zeros =
            i64::try_from(digits.len() - digits.trim_end_matches('0').len()).ok()?;
        let zeros = trailing_zeros.checked_sub(excess)?;
        if !(0..=9).contains(&zeros) || significant.is_empty() {
            return None;
        }
        let cents = significant
            .parse::<i64>()
            .ok()?
            .checked_mul(10_i64.pow(u32::try_from(zeros).ok()?))?;
        Self::from_cents(cents)
    }
}

impl Serialize for Price {
    /// As a number. The quotient of two exact integers is the float nearest to the decimal, whose shortest
    /// text is that decimal again.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.cents as f64 / 100.0)
    }
}

/// A member that is a price, or `None` for anything else: the validator says what it wants.
pub(super) fn lenient<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Price>, D::Error> {
    Ok(Price::parse(
        Box::<RawValue>::deserialize(deserializer)?.get(),
    ))
}
