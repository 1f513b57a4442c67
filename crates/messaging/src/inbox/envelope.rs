//! What a message is about: read from its headers, else from its subject and its payload, whoever published it.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::{consumer::Received, message::Message};
use crate::Metadata;

/// In bytes: of a key, which is a part of an index, an id and a type, which stand in each mark and dead letter.
const LONGEST: usize = 1_024;

/// What a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) key: String,
    pub(crate) version: i64,
    pub(crate) message_id: String,
    pub(crate) r#type: String,
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
}

impl Envelope {
    /// Reads `message`, whose subject begins with `prefix`, of `stream`.
    ///
    /// # Errors
    /// Why its key or its version can't be told.
    pub(crate) fn of(message: &Message, prefix: &str, stream: &str) -> Result<Self, String> {
        let key = key(message)?;
        let version = version(message)?;
        let (message_id, r#type) = (message_id(message, stream), type_of(message, prefix));
        for (name, text) in [("id", &message_id), ("type", &r#type)] {
            if text.len() > LONGEST {
                return Err(format!("its {name} is longer than {LONGEST} bytes"));
            }
        }
        Ok(Self {
            key,
            version,
            message_id,
            r#type,
            traceparent: message.header("traceparent").map(str::to_owned),
            tracestate: message.header("tracestate").map(str::to_owned),
        })
    }

    pub(super) fn with<T>(&self, data: T) -> Received<T> {
        Received {
            key: self.key.clone(),
            version: self.version,
            message_id: self.message_id.clone(),
            r#type: self.r#type.clone(),
            metadata: Metadata {
                traceparent: self.traceparent.clone(),
                tracestate: self.tracestate.clone(),
                ..Metadata::now()
            },
            data,
        }
    }
}

/// What is kept of a text that may be longer.
pub(super) fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// `Nats-Msg-Id`, else the stream and the sequence.
pub(super) fn message_id(message: &Message, stream: &str) -> String {
    let id = message.header("Nats-Msg-Id").filter(|id| !id.is_empty());
    id.map_or_else(|| format!("{stream}/{}", message.sequence), str::to_owned)
}

/// `ce-type`, else what stands in the subject before the last word.
pub(super) fn type_of(message: &Message, prefix: &str) -> String {
    let said = message.header("ce-type").and_then(decoded);
    said.unwrap_or_else(|| {
        let subject = message.subject.strip_prefix(prefix);
        let subject = subject.unwrap_or(&message.subject);
        subject
            .rsplit_once('.')
            .map_or("", |(name, _)| name)
            .to_owned()
    })
}

/// `ce-subject`, else the last word of the subject.
fn key(message: &Message) -> Result<String, String> {
    if std::str::from_utf8(&message.headers).is_err() {
        return Err("its headers are no text".to_owned());
    }
    let key = match message.header("ce-subject") {
        Some(said) => decoded(said).ok_or("its key, the header ce-subject, can't be read")?,
        None => {
            let subject = &message.subject;
            subject.rsplit('.').next().unwrap_or(subject).to_owned()
        }
    };
    match key.len() {
        0 => Err("its key is empty".to_owned()),
        1..=LONGEST => Ok(key),
        _ => Err(format!("its key is longer than {LONGEST} bytes")),
    }
}

/// `ce-keyversion`, else `version` of the payload.
fn version(message: &Message) -> Result<i64, String> {
    #[derive(Deserialize)]
    struct Payload {
        version: i64,
    }
    let version = match message.header("ce-keyversion") {
        Some(said) => said
            .parse()
            .map_err(|_| "its version, the header ce-keyversion, is no whole number")?,
        None => {
            let payload = serde_json::from_slice::<Payload>(&message.payload);
            let payload =
                payload.map_err(|_| "neither its headers nor its payload tell a version")?;
            payload.version
        }
    };
    if version < 0 {
        return Err("its version is below 0".to_owned());
    }
    Ok(version)
}

/// Attributes of CloudEvents are percent-encoded.
fn decoded(value: &str) -> Option<String> {
    let value = percent_decode_str(value).decode_utf8().ok()?;
    Some(value.into_owned())
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use bson::DateTime;
    use bytes::Bytes;

    use super::{super::message::written, *};

    fn message(headers: &[(&str, &str)], subject: &str, payload: &str) -> Message {
        let mut map = HeaderMap::new();
        headers
            .iter()
            .for_each(|(name, value)| map.append(*name, *value));
        Message {
            subject: subject.to_owned(),
            headers: written(&map),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            sequence: 7,
            published: DateTime::MIN,
        }
    }

    fn read(message: &Message) -> Result<(String, i64, String, String), String> {
        let read = Envelope::of(message, "test.", "ORDERS")?;
        Ok((read.key, read.version, read.r#type, read.message_id))
    }

    #[test]
    fn headers_say_what_a_message_is_about() {
        let headers = [
            ("ce-subject", "a%20b"),
            ("ce-keyversion", "3"),
            ("ce-type", "order.created"),
            ("Nats-Msg-Id", "id"),
        ];
        let told = (
            "a b".to_owned(),
            3,
            "order.created".to_owned(),
            "id".to_owned(),
        );
        let message = message(&headers, "test.order.x.y", r#"{"version":9}"#);
        assert_eq!(read(&message), Ok(told));
    }

    #[test]
    fn without_headers_the_subject_and_the_payload_say_it() {
        let told = (
            "y".to_owned(),
            9,
            "order.created".to_owned(),
            "ORDERS/7".to_owned(),
        );
        let deep = format!(
            r#"{{"x":{}{},"version":9}}"#,
            "[".repeat(9_000),
            "]".repeat(9_000)
        );
        for payload in [r#"{"id":"1","version":9}"#, &deep] {
            let message = message(&[], "test.order.created.y", payload);
            assert_eq!(read(&message), Ok(told.clone()));
        }
    }

    #[test]
    fn a_message_that_tells_no_key_or_version_says_why() {
        let fine = r#"{"version":1}"#;
        for (headers, payload, why) in [
            (&[("ce-keyversion", "-1")][..], fine, "below 0"),
            (&[("ce-keyversion", "one")], fine, "no whole number"),
            (
                &[("ce-keyversion", "9223372036854775808")],
                fine,
                "no whole number",
            ),
            (&[("ce-subject", "")], fine, "its key is empty"),
            (&[("ce-subject", "%ff")], fine, "ce-subject, can't be read"),
            (
                &[("ce-subject", &*"a".repeat(1_025))],
                fine,
                "longer than 1024",
            ),
            (&[], r#"{"version":"1"}"#, "neither"),
            (&[], r#"{"version":1.5}"#, "neither"),
            (&[], r#"{"version":-3}"#, "below 0"),
            (&[], "", "neither"),
            (&[], "\u{0}", "neither"),
        ] {
            let read = read(&message(headers, "test.order.created.y", payload));
            let told = read.unwrap_err();
            assert!(told.contains(why), "{told}");
        }
        let mut garbled = message(&[], "test.order.created.y", fine);
        garbled.headers = Bytes::from_static(b"NATS/1.0\r\na: \xff\r\n\r\n");
        assert_eq!(read(&garbled).unwrap_err(), "its headers are no text");
    }

    #[test]
    fn a_key_may_be_any_text() {
        for (said, key) in [("a%00b", "a\0b"), ("%24gt", "$gt"), ("a.b", "a.b")] {
            let headers = [
                ("ce-subject", said),
                ("ce-keyversion", "9223372036854775807"),
            ];
            let read = read(&message(&headers, "test.order.created.y", "")).unwrap();
            assert_eq!((&*read.0, read.1), (key, i64::MAX));
        }
    }
}
