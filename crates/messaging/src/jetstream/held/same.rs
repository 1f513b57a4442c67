//! Whether two payloads say the same, although two versions of the service wrote them.

use serde_json::{Number, Value};

/// Whether two payloads are equal as JSON: the order of members says nothing, nor whether a number is written 12, 12.0 or 1.2e1.
pub(super) fn says_the_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let is_whole = |it: &Number| it.is_i64() || it.is_u64();
            // Whole ones are compared to the last digit.
            one == other || !(is_whole(one) && is_whole(other)) && one.as_f64() == other.as_f64()
        }
        (Value::Array(one), Value::Array(other)) => {
            let mut pairs = one.iter().zip(other);
            one.len() == other.len() && pairs.all(|(one, other)| says_the_same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let in_other = |(name, value): (&String, &Value)| {
                other.get(name).is_some_and(|it| says_the_same(value, it))
            };
            one.len() == other.len() && one.iter().all(in_other)
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_what_it_is_however_it_is_written_and_members_have_no_order() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = read(r#"{"price": 12, "title": "a", "of": [1, {"b": 2.50}]}"#);
        for same in [
            r#"{"title": "a", "price": 12.0, "of": [1.0, {"b": 25e-1}]}"#,
            r#"{"of": [1, {"b": 2.5}], "title": "\u0061", "price": 1.2e1}"#,
        ] {
            assert!(says_the_same(&one, &read(same)), "{same}");
        }
        for other in [
            r#"{"price": 12.01, "title": "a", "of": [1, {"b": 2.5}]}"#,
            r#"{"price": "12", "title": "a", "of": [1, {"b": 2.5}]}"#,
            r#"{"price": 12, "title": "a", "of": [1]}"#,
            r#"{"price": 12, "title": "a"}"#,
            r#"{"price": 12, "title": "a", "of": [1, {"b": 2.5}], "more": 0}"#,
        ] {
            assert!(!says_the_same(&one, &read(other)), "{other}");
        }
        let large = |last: u64| json!(9_007_199_254_740_990_u64 + last);
        assert!(!says_the_same(&large(2), &large(3)));
        assert!(!says_the_same(&json!(u64::MAX), &json!(-1)));
    }
}
