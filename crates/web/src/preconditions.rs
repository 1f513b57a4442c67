//! Conditional requests (RFC 9110 §13): a document's version is its entity tag, a strong one, since nothing of a document changes
//! without its version.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};

use crate::{Refusal, etag};

/// `If-Match` and `If-None-Match`, as the request has them. One that can't be read is a 400 where the request would change something;
/// a read passes over it, and answers in full.
#[derive(Debug, Clone)]
pub struct Preconditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Preconditions {
    /// Whether a change of this version is wanted.
    pub fn accept(&self, version: i64) -> bool {
        self.is_matched(version) && !self.is_known(version)
    }

    /// Of a read: whether the caller has this version already.
    ///
    /// # Errors
    /// 412 where the caller asks for another version only.
    pub fn is_not_modified(&self, version: i64) -> Result<bool, Refusal> {
        if !self.is_matched(version) {
            return Err(Refusal::PreconditionFailed);
        }
        Ok(self.is_known(version))
    }

    fn is_known(&self, version: i64) -> bool {
        let known = self.if_none_match.as_ref();
        known.is_some_and(|known| known.weakly_name(version))
    }

    fn is_matched(&self, version: i64) -> bool {
        let wanted = self.if_match.as_ref();
        wanted.is_none_or(|wanted| wanted.strongly_name(version))
    }
}

impl<S: Sync> FromRequestParts<S> for Preconditions {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let is_read = parts.method.is_safe();
        let of = |name: HeaderName| match Tags::of(&parts.headers, &name) {
            Err(Unreadable) if is_read => Ok(None),
            Err(Unreadable) => Err(Refusal::invalid(format!(
                "{name} must be * or versions in quotes, such as \"3\""
            ))),
            Ok(tags) => Ok(tags),
        };
        Ok(Self {
            if_match: of(header::IF_MATCH)?,
            if_none_match: of(header::IF_NONE_MATCH)?,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tags {
    Any,
    Of(Vec<Tag>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tag {
    is_weak: bool,
    /// With its quotes.
    text: Vec<u8>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable;

impl Tags {
    /// `None` where there is no such header. Several of them are one list (RFC 9110 §5.3).
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Unreadable> {
        let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let lines: Vec<&[u8]> = lines.collect();
        if lines.is_empty() {
            return Ok(None);
        }
        Self::read(&lines.join(&b","[..])).map(Some)
    }

    fn read(mut rest: &[u8]) -> Result<Self, Unreadable> {
        if rest.trim_ascii() == b"*" {
            return Ok(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            // Elements that are empty are passed over (RFC 9110 §5.6.1.2).
            while let [b' ' | b'\t' | b',', behind @ ..] = rest {
                rest = behind;
            }
            if rest.is_empty() {
                break;
            }
            let (tag, behind) = Tag::read(rest)?;
            tags.push(tag);
            rest = behind.trim_ascii_start();
            if !rest.is_empty() && !rest.starts_with(b",") {
                return Err(Unreadable);
            }
        }
        if tags.is_empty() {
            return Err(Unreadable);
        }
        Ok(Self::Of(tags))
    }

    /// Weak tags promise less than that nothing has changed, and don't count.
    fn strongly_name(&self, version: i64) -> bool {
        self.name(&etag(version), |tag| !tag.is_weak)
    }

    fn weakly_name(&self, version: i64) -> bool {
        self.name(&etag(version), |_| true)
    }

    /// Whether a tag of the list is this one, but for the weakness of either.
    pub(crate) fn name_text(&self, text: &str) -> bool {
        self.name(text, |_| true)
    }

    fn name(&self, text: &str, counts: impl Fn(&Tag) -> bool) -> bool {
        match self {
            Self::Any => true,
            Self::Of(tags) => tags
                .iter()
                .any(|tag| counts(tag) && tag.text == text.as_bytes()),
        }
    }
}

impl Tag {
    /// The tag that `text` begins with, and what is behind it.
    fn read(text: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
        let weak = text.strip_prefix(b"W/");
        let quoted = weak.unwrap_or(text);
        let inside = quoted.strip_prefix(b"\"").ok_or(Unreadable)?;
        let length = inside.iter().position(|byte| *byte == b'"');
        let length = length.ok_or(Unreadable)?;
        let is_of_a_tag = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
        if !inside[..length].iter().all(is_of_a_tag) {
            return Err(Unreadable);
        }
        let (text, behind) = quoted.split_at(length + 2);
        let tag = Self {
            is_weak: weak.is_some(),
            text: text.to_vec(),
        };
        Ok((tag, behind))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Tags, Unreadable> {
        Tags::read(text.as_bytes())
    }

    #[test]
    fn a_list_has_at_least_one_tag_and_tags_have_quotes_without_blanks_between() {
        for unreadable in [
            "",
            " ",
            ",",
            "0",
            "\"0",
            "0\"",
            "\"a b\"",
            "\"0 \"",
            "W/\"a b\"",
            "\"9, 0\"",
            "\"a\tb\"",
            "w/\"0\"",
            "W/0",
            "W/ \"0\"",
            "\"0\" \"1\"",
            "\"0\"\"1\"",
            "*, \"0\"",
            "\"0\", *",
            "**",
            "\"0\", 1",
            "\"\u{7f}\"",
        ] {
            assert_eq!(read(unreadable), Err(Unreadable), "{unreadable}");
        }
        for list in [
            "\"0\"",
            " \"0\" ",
            "\"7\",\"0\"",
            "\"7\" , \"0\",",
            ",,\"0\"",
            "\"\", \"0\"",
            "\"a,b\", \"0\"",
            "\"é\",\"0\"",
        ] {
            assert!(read(list).unwrap().strongly_name(0), "{list}");
            assert!(!read(list).unwrap().strongly_name(1), "{list}");
        }
        assert_eq!(read(" * "), Ok(Tags::Any));
    }

    proptest! {
        #[test]
        fn no_bytes_make_tags_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Tags::read(&bytes);
        }

        #[test]
        fn a_version_is_found_in_any_list_that_has_it(before in proptest::collection::vec(0_i64..9, 0..4), version in 9_i64.., is_weak: bool) {
            let list = before.iter().map(|it| etag(*it) + ",").collect::<String>();
            let list = format!("{list}{}{}", if is_weak { "W/" } else { "" }, etag(version));
            let tags = read(&list).unwrap();
            prop_assert!(tags.weakly_name(version));
            prop_assert_eq!(tags.strongly_name(version), !is_weak);
            prop_assert!(!tags.weakly_name(version ^ 1 | 16));
        }
    }
}
