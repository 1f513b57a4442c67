//! A message as it came, to the byte: what a dead letter keeps.

use std::str::FromStr;

use async_nats::{HeaderMap, HeaderName, StatusCode};
use bson::DateTime;
use bytes::Bytes;

const VERSION_LINE: &str = "NATS/1.0";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    /// As they go over the wire; empty where there are none.
    pub(crate) headers: Bytes,
    pub(crate) payload: Bytes,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// When the stream took it.
    pub(crate) published: DateTime,
}

impl Message {
    /// In bytes.
    pub(crate) fn size(&self) -> usize {
        self.subject.len() + self.headers.len() + self.payload.len()
    }

    /// The first value of a header, whose name may be written in any case. `None` where the headers are no text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = std::str::from_utf8(&self.headers).ok()?.lines().skip(1);
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }
}

/// The headers as they go over the wire.
pub(crate) fn written(headers: &HeaderMap) -> Bytes {
    let mut text = format!("{VERSION_LINE}\r\n");
    for (name, values) in headers.iter() {
        for value in values {
            text += &format!("{name}: {}\r\n", value.as_str());
        }
    }
    text.push_str("\r\n");
    text.into()
}

/// Whether the client can read such headers. Where it can't, it takes the connection for broken, and opens another: a message with them
/// would come again and again.
pub(crate) fn are_readable(headers: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(headers) else {
        return false;
    };
    let mut lines = text.lines();
    let Some(status) = lines
        .next()
        .and_then(|line| line.strip_prefix(VERSION_LINE))
    else {
        return headers.is_empty();
    };
    let status = status.trim().split(' ').next().unwrap_or_default();
    let is_field = |line: &str| {
        let name = line.split_once(':').map(|(name, _)| name);
        name.is_some_and(|name| HeaderName::from_str(name).is_ok())
    };
    // What begins with a blank goes on with the line before.
    let mut fields =
        lines.filter(|line| !line.is_empty() && !line.starts_with(char::is_whitespace));
    (status.is_empty() || StatusCode::from_str(status).is_ok()) && fields.all(is_field)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[u8]) -> Message {
        Message {
            subject: "order.created.a".to_owned(),
            headers: Bytes::copy_from_slice(headers),
            payload: Bytes::new(),
            sequence: 1,
            published: DateTime::MIN,
        }
    }

    #[test]
    fn a_header_is_found_by_its_name_in_any_case_and_the_first_counts() {
        let mut headers = HeaderMap::new();
        headers.append("ce-subject", "a");
        headers.append("ce-subject", "b");
        headers.append("Nats-Msg-Id", "x:y");
        let message = message(&written(&headers));
        assert!(are_readable(&message.headers));
        assert_eq!(message.header("Ce-Subject"), Some("a"));
        assert_eq!(message.header("nats-msg-id"), Some("x:y"));
        assert_eq!(message.header("ce-type"), None);
    }

    #[test]
    fn headers_that_break_the_clients_connection_are_known() {
        for broken in [
            &b"NATS/1.0\r\na: \xff\xfe\r\n\r\n"[..],
            b"NATS/1.0\r\nno field\r\n\r\n",
            b"NATS/1.0\r\na b: c\r\n\r\n",
            b"NATS/1.0 abc\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
        ] {
            assert!(!are_readable(broken), "{broken:?}");
            assert_eq!(message(broken).header("a"), None);
        }
        for fine in [
            &b""[..],
            b"NATS/1.0 503 why\r\n\r\n",
            b"NATS/1.0\r\na:b\r\n c\r\n\r\n",
        ] {
            assert!(are_readable(fine), "{fine:?}");
        }
    }
}
