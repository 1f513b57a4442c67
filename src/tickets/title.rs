//! A title: text of a line, with something in it that can be seen.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};
use validator::ValidationError;

const MAX_CHARACTERS: usize = 100;

/// Letters and symbols by their category, that leave a blank all the same: the fillers of Hangul, the braille pattern without a dot.
const BLANKS: [char; 5] = ['\u{115f}', '\u{1160}', '\u{2800}', '\u{3164}', '\u{ffa0}'];

/// A member that is a string, without the blanks around it, or `None` for anything else: the validator says what it wants.
pub(super) fn lenient<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let json = Box::<RawValue>::deserialize(deserializer)?;
    // Read from its text: a `Value` would take an object for a string that pretends to be raw text of serde_json's.
    let title = serde_json::from_str::<String>(json.get());
    Ok(title.ok().map(|title| title.trim().to_owned()))
}

pub(super) fn is_fit(title: &str) -> Result<(), ValidationError> {
    let is_short = title.chars().count() <= MAX_CHARACTERS;
    let fits = is_short && title.contains(is_visible) && !title.contains(char::is_control);
    fits.then_some(()).ok_or(ValidationError::new("title"))
}

/// Whether a character leaves a mark of its own: not a blank, and not one that only changes others (formats, combining marks).
fn is_visible(character: char) -> bool {
    use GeneralCategoryGroup::{Letter, Number, Punctuation, Symbol};
    let group = character.general_category_group();
    let can_be_seen = matches!(group, Letter | Number | Punctuation | Symbol);
    can_be_seen && !BLANKS.contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_has_something_that_can_be_seen() {
        let invisible = [
            "",
            "\u{200b}",
            "\u{feff}",
            "\u{3164}",
            "\u{2060}\u{200d}",
            "\u{115f}\u{1160}",
            "\u{ffa0}",
            "\u{2800}",
            "\u{34f}",
            "\u{301}",
            "\u{fe0f}",
            "\u{e0020}",
            "\u{ad}",
            "\u{202e}",
            "\u{180e}",
            "\u{e000}",
        ];
        for invisible in invisible {
            assert!(is_fit(invisible).is_err(), "{invisible:?}");
            assert!(is_fit(&format!("{invisible}a")).is_ok(), "{invisible:?}");
        }
        for fine in [
            "7",
            "!",
            "é",
            "e\u{301}",
            "🎫",
            "演唱会",
            "حفلة",
            "\u{200f}א",
            "한",
            "👩\u{200d}🎤",
            "€",
        ] {
            assert!(is_fit(fine).is_ok(), "{fine:?}");
        }
    }
}
