//! What is wrong with a body, field by field, each spelt as the client spells it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_aux::serde_introspection::serde_introspect;
use validator::{ValidationErrors, ValidationErrorsKind};

use crate::{Invalid, Refusal};

/// Each message once for each field, in the fields' order. A field inside of another is told by its path: `seats[2].rowNumber`.
pub(crate) fn invalid<T: DeserializeOwned>(errors: &ValidationErrors) -> Refusal {
    let told_as = serde_introspect::<T>();
    let spelt = |field: &str| {
        let same = told_as.iter().find(|told| plain(told) == plain(field));
        same.map_or_else(|| camel_case(field), |told| (*told).to_owned())
    };
    let mut told = Vec::new();
    collect(errors, "", &spelt, &mut told);
    Refusal::Invalid(told)
}

fn collect(
    errors: &ValidationErrors,
    within: &str,
    spelt: &dyn Fn(&str) -> String,
    told: &mut Vec<Invalid>,
) {
    let fields: BTreeMap<_, _> = errors.errors().iter().collect();
    for (field, kind) in fields {
        let path = format!("{within}{}", spelt(field));
        match kind {
            ValidationErrorsKind::Field(errors) => {
                for error in errors {
                    let message = error.message.as_deref().unwrap_or("is not valid");
                    let entry = Invalid::new(message, Some(&path));
                    if !told.contains(&entry) {
                        told.push(entry);
                    }
                }
            }
            ValidationErrorsKind::Struct(errors) => {
                collect(errors, &format!("{path}."), &camel_case, told);
            }
            ValidationErrorsKind::List(items) => {
                for (index, errors) in items {
                    collect(errors, &format!("{path}[{index}]."), &camel_case, told);
                }
            }
        }
    }
}

/// The letters and digits alone: `order_id`, `orderId` and `order-id` are the same field.
fn plain(field: &str) -> String {
    let letters = field.chars().filter(|it| it.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// As JSON's members are spelt in our bodies, where serde can't be asked: of a struct within another.
fn camel_case(field: &str) -> String {
    let mut words = field.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| {
        let (head, tail) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        name + &head.to_uppercase() + tail
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use validator::Validate;

    use super::*;

    #[derive(Deserialize, Validate)]
    struct Seat {
        #[validate(range(min = 1, message = "from 1"))]
        row_number: u32,
    }

    #[derive(Deserialize, Validate)]
    #[serde(rename_all = "camelCase")]
    struct Camel {
        #[validate(length(min = 1, message = "not empty"))]
        order_id: String,
        #[validate(nested)]
        best_seat: Seat,
        #[validate(nested)]
        all_seats: Vec<Seat>,
    }

    #[derive(Deserialize, Validate)]
    #[serde(rename_all = "kebab-case")]
    struct Kebab {
        #[validate(length(min = 1, message = "not empty"))]
        order_id: String,
    }

    #[derive(Deserialize, Validate)]
    struct Snake {
        #[validate(length(min = 1, message = "not empty"))]
        order_id: String,
    }

    fn fields<T: DeserializeOwned + Validate>(body: &str) -> Vec<String> {
        let body: T = serde_json::from_str(body).unwrap();
        let Refusal::Invalid(told) = invalid::<T>(&body.validate().unwrap_err()) else {
            panic!("it is not valid");
        };
        told.into_iter().filter_map(|it| it.field).collect()
    }

    #[test]
    fn a_field_is_told_as_the_client_spells_it() {
        let wrong = r#"{"orderId": "", "bestSeat": {"row_number": 0}, "allSeats": [{"row_number": 1}, {"row_number": 0}]}"#;
        let expected = ["allSeats[1].rowNumber", "bestSeat.rowNumber", "orderId"];
        assert_eq!(fields::<Camel>(wrong), expected);
        assert_eq!(fields::<Kebab>(r#"{"order-id": ""}"#), ["order-id"]);
        assert_eq!(fields::<Snake>(r#"{"order_id": ""}"#), ["order_id"]);
    }
}
