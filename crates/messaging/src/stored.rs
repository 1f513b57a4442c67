//! Values as the database holds them, readable or not: a script or another program may have written anything, and the library's own
//! types refuse text that is not UTF-8.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf, oid::ObjectId, rawdoc, spec::ElementType};

/// In characters, of a key, a type or an id that a page shows.
pub(crate) const LONGEST_SHOWN: usize = 120;

/// A value of any type, to the byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stored {
    kind: u8,
    /// Shared: a key is in several hands at once.
    bytes: Arc<[u8]>,
}

impl Stored {
    /// A document's member; null where there is none, as in an index.
    pub(crate) fn of(document: &RawDocument, name: &str) -> Self {
        let all = document.as_bytes();
        let mut end = size_of::<i32>();
        for element in document.iter_elements().flatten() {
            let key = element.key().as_str();
            // The type, the name and its end, the value.
            let begin = end + 1 + key.len() + 1;
            end = begin + element.size();
            if key == name {
                return Self::new(element.element_type(), &all[begin..end]);
            }
        }
        Self::null()
    }

    fn null() -> Self {
        Self::new(ElementType::Null, &[])
    }

    fn new(kind: ElementType, bytes: &[u8]) -> Self {
        Self {
            kind: kind as u8,
            bytes: bytes.into(),
        }
    }

    /// Whether it is text, readable or not.
    pub(crate) fn is_text(&self) -> bool {
        self.kind == ElementType::String as u8
    }

    /// The id that it is, if it is one.
    pub(crate) fn object_id(&self) -> Option<ObjectId> {
        let is_id = self.kind == ElementType::ObjectId as u8;
        let bytes = <[u8; 12]>::try_from(&*self.bytes).ok();
        bytes.filter(|_| is_id).map(ObjectId::from_bytes)
    }

    /// The text that it is, where it is readable.
    pub(crate) fn text(&self) -> Option<&str> {
        let text = self.bytes.get(size_of::<i32>()..)?.strip_suffix(&[0])?;
        std::str::from_utf8(text).ok().filter(|_| self.is_text())
    }

    /// Whether a query takes it for the value that it is. A regular expression would match others, a document may be read as operators,
    /// and an array stands for its elements.
    pub(crate) fn stands_for_itself(&self) -> bool {
        const PLAIN: [ElementType; 7] = [
            ElementType::String,
            ElementType::ObjectId,
            ElementType::Int32,
            ElementType::Int64,
            ElementType::Double,
            ElementType::Boolean,
            ElementType::DateTime,
        ];
        PLAIN.iter().any(|plain| *plain as u8 == self.kind)
    }
}

impl From<ObjectId> for Stored {
    fn from(id: ObjectId) -> Self {
        Self::new(ElementType::ObjectId, &id.bytes())
    }
}

impl From<&str> for Stored {
    fn from(text: &str) -> Self {
        Self::of(&rawdoc! { "text": text }, "text")
    }
}

/// A list of values.
pub(crate) fn list<'a>(values: impl IntoIterator<Item = &'a Stored>) -> Stored {
    let names = (0..).map(|number: usize| number.to_string());
    let list = assemble(names.zip(values));
    Stored::new(ElementType::Array, list.as_bytes())
}

/// A document of members.
pub(crate) fn assemble<'a, N: AsRef<str>>(
    members: impl IntoIterator<Item = (N, &'a Stored)>,
) -> RawDocumentBuf {
    let mut bytes = vec![0; size_of::<i32>()];
    for (name, value) in members {
        bytes.push(value.kind);
        bytes.extend(name.as_ref().as_bytes());
        bytes.push(0);
        bytes.extend(&*value.bytes);
    }
    bytes.push(0);
    let length = i32::try_from(bytes.len()).expect("a document of keys is below 2 GiB");
    bytes[..size_of::<i32>()].copy_from_slice(&length.to_le_bytes());
    RawDocumentBuf::from_bytes(bytes).expect("length and end are those of a document")
}

/// A document's member that is a whole number, of 32 or 64 bits.
pub(crate) fn whole_number(document: &RawDocument, name: &str) -> Option<i64> {
    let number = document.get(name).ok().flatten()?;
    number.as_i64().or(number.as_i32().map(i64::from))
}

/// What can be shown of a document's member: text with marks for what is not UTF-8, or else as the library writes it.
pub(crate) fn shown(document: &RawDocument, name: &str) -> Option<String> {
    let mut elements = document.iter_elements().flatten();
    let element = elements.find(|element| element.key().as_str() == name)?;
    let value = bson::Bson::try_from(element.value_utf8_lossy().ok()?).ok()?;
    Some(match value {
        bson::Bson::String(text) => text,
        bson::Bson::ObjectId(id) => id.to_hex(),
        other => other.to_string(),
    })
}

/// What a page shows of a key, a type or an id.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(LONGEST_SHOWN).collect()
}

/// A document's member as JSON, or where it is not readable as [`shown`].
pub(crate) fn as_json(document: &RawDocument, name: &str) -> String {
    let value = document.get(name).ok().flatten();
    let value = value.and_then(|value| bson::Bson::try_from(value).ok());
    let json = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
    json.or_else(|| shown(document, name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `{t: <ff fe as text>}`.
    fn unreadable() -> RawDocumentBuf {
        let text = Stored {
            kind: ElementType::String as u8,
            bytes: [3, 0, 0, 0, 0xff, 0xfe, 0].into(),
        };
        assemble([("t", &text)])
    }

    #[test]
    fn a_value_of_any_type_survives_to_the_byte() {
        let document = rawdoc! {
            "a": "text", "b": 5, "c": null, "d": ObjectId::new(), "e": { "f": [1, "x"] }, "g": true, "h": 1.5,
        };
        for name in ["a", "b", "c", "d", "e", "g", "h"] {
            let copy = assemble([(name, &Stored::of(&document, name))]);
            assert_eq!(
                copy.get(name).unwrap(),
                document.get(name).unwrap(),
                "{name}"
            );
        }
        assert!(Stored::of(&document, "a").is_text());
        assert!(!Stored::of(&document, "b").is_text());
        assert_eq!(Stored::of(&document, "none"), Stored::null());
        assert_eq!(Stored::of(&document, "a"), Stored::from("text"));
        assert_eq!(Stored::from("text").text(), Some("text"));
        assert_eq!(Stored::of(&document, "d").text(), None);
        let id = document.get_object_id("d").unwrap();
        assert_eq!(Stored::of(&document, "d").object_id(), Some(id));
        assert_eq!(Stored::of(&document, "a").object_id(), None);
    }

    #[test]
    fn text_that_is_not_utf_8_is_kept_and_shown_with_marks() {
        let document = unreadable();
        let text = Stored::of(&document, "t");
        assert!(text.is_text());
        assert_eq!(text.text(), None);
        assert_eq!(assemble([("t", &text)]), document);
        assert_eq!(shown(&document, "t").as_deref(), Some("\u{fffd}\u{fffd}"));
    }

    #[test]
    fn a_list_is_an_array() {
        let document = rawdoc! { "a": "x", "b": 5 };
        let values = ["a", "b"].map(|name| Stored::of(&document, name));
        let whole = assemble([("l", &list(&values))]);
        assert_eq!(whole, rawdoc! { "l": ["x", 5] });
    }
}
