//! Events that can never be published, as a script or another program may write them.

use bson::{Bson, DateTime, Document, RawDocumentBuf, Regex, doc, oid::ObjectId, raw::cstr};

/// In bytes.
pub const LARGEST_DOCUMENT: usize = 16 * 1024 * 1024;

/// A document whose text `\u{1}\u{1}` is no text any more.
fn garbled(document: &Document) -> RawDocumentBuf {
    let mut bytes = RawDocumentBuf::try_from(document).unwrap().into_bytes();
    let at = bytes.windows(2).position(|two| two == [1, 1]).unwrap();
    bytes[at..at + 2].copy_from_slice(&[0xff, 0xfe]);
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

fn event(noun: &str, key: &str, data: Document) -> Document {
    doc! {
        "_id": ObjectId::new(), "type": format!("{noun}.updated"), "subject": format!("{noun}.updated.{key}"),
        "key": key, "version": 0_i64, "data": data, "sent": "NO", "createdAt": DateTime::now(),
    }
}

fn with(mut event: Document, name: &str, value: impl Into<Bson>) -> Document {
    event.insert(name, value);
    event
}

/// Nothing but a reason fits behind it.
fn as_large_as_a_document_can_be(noun: &str) -> Document {
    let with_text = |length: usize| event(noun, "large", doc! { "t": "x".repeat(length) });
    let empty = RawDocumentBuf::try_from(&with_text(0)).unwrap();
    with_text(LARGEST_DOCUMENT - 20 - empty.as_bytes().len())
}

/// One of each kind, of what `noun` names, and a part of the reason for which it can't be published. Their keys come before most others.
pub fn poison(noun: &str) -> Vec<(&'static str, RawDocumentBuf)> {
    let plain = |document: Document| RawDocumentBuf::try_from(&document).unwrap();
    let fine = |key: &str| event(noun, key, doc! {});
    let long = format!("{noun}.created.{}", "a".repeat(5_000));
    let any_text = Regex {
        pattern: cstr!(".").into(),
        options: cstr!("").into(),
    };
    vec![
        (
            "is no JSON",
            garbled(&with(fine("0a"), "data", doc! { "t": "\u{1}\u{1}" })),
        ),
        (
            "cannot be read",
            garbled(&with(fine("0b"), "type", "\u{1}\u{1}")),
        ),
        (
            "cannot be read",
            garbled(&with(fine("0k"), "key", "\u{1}\u{1}")),
        ),
        (
            "cannot be read",
            garbled(&with(fine("0k"), "key", "\u{1}\u{1}x")),
        ),
        (
            "longer than 4000 bytes",
            plain(with(fine("0c"), "subject", long)),
        ),
        (
            "max payload size",
            plain(as_large_as_a_document_can_be(noun)),
        ),
        ("cannot be read", plain(with(fine(""), "key", 5))),
        ("cannot be read", plain(with(fine(""), "key", Bson::Null))),
        ("its key is empty", plain(fine(""))),
        (
            "cannot be read",
            plain(with(fine(""), "key", ObjectId::new())),
        ),
        (
            "cannot be read",
            plain(with(fine(""), "key", doc! { "a": 1 })),
        ),
        // As parts of a query these two would mean something else.
        ("cannot be read", plain(with(fine(""), "key", any_text))),
        (
            "cannot be read",
            plain(with(fine(""), "key", doc! { "$gt": "" })),
        ),
        (
            "JSON does not have",
            plain(with(fine("0d"), "data", doc! { "n": f64::NAN })),
        ),
        (
            "JSON does not have",
            plain(with(
                fine("0e"),
                "data",
                doc! { "n": [{ "m": f64::INFINITY }] },
            )),
        ),
        (
            "is not one of",
            plain(with(fine("0f"), "subject", "invoice.paid.0f")),
        ),
        (
            "is not one of",
            plain(with(fine("0g"), "subject", format!("{noun}.created.*"))),
        ),
        (
            "cannot be read",
            plain(with(fine("0h"), "version", "first")),
        ),
        ("cannot be read", plain(with(fine("0i"), "data", "text"))),
    ]
}
