//! Where heads of HTTP/1 begin and end in what was read: hyper reads ahead, and does not tell whether a part of a next head came along
//! with a request.

use super::activity::Length;

/// What was read since the last request was answered.
#[derive(Debug, Default)]
pub(super) struct Heads {
    at: At,
    /// Line breaks at the end of what was read, with nothing between them: two end a head, or the last chunk of a body.
    line_breaks: u8,
    /// Bytes of line breaks at the end of what was read.
    blank: u64,
    /// Of the request that is in hand.
    body: Option<Length>,
}

#[derive(Debug, Default)]
enum At {
    /// A head is to come. Line breaks before it are passed over (RFC 9112 §2.2).
    #[default]
    Blank,
    Head,
    /// So many bytes came behind the head.
    Behind(u64),
    /// A part of this request came with the one before.
    Unknown,
}

impl Heads {
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let is_break = |byte: &&u8| b"\r\n".contains(byte);
        let blank = bytes.iter().rev().take_while(is_break).count();
        let before = if blank == bytes.len() { self.blank } else { 0 };
        self.blank = before + blank as u64;
        match &mut self.at {
            At::Blank => {
                if let Some(begin) = bytes.iter().position(|byte| !is_break(&byte)) {
                    self.at = At::Head;
                    self.read_head(&bytes[begin..]);
                }
            }
            At::Head => self.read_head(bytes),
            At::Behind(length) => {
                *length += bytes.len() as u64;
                self.count_last_of(bytes);
            }
            At::Unknown => self.count_last_of(bytes),
        }
    }

    fn read_head(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.iter().copied();
        while self.line_breaks < 2 {
            let Some(byte) = bytes.next() else { return };
            self.count(byte);
        }
        self.at = At::Behind(bytes.len() as u64);
        bytes.for_each(|byte| self.count(byte));
    }

    fn count_last_of(&mut self, bytes: &[u8]) {
        let last = bytes.len().saturating_sub(4);
        bytes[last..].iter().for_each(|byte| self.count(*byte));
    }

    fn count(&mut self, byte: u8) {
        match byte {
            b'\n' => self.line_breaks = self.line_breaks.saturating_add(1),
            b'\r' => {}
            _ => self.line_breaks = 0,
        }
    }

    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.at, At::Blank | At::Head)
    }

    /// A head is whole, and a body of this length is behind it.
    pub(super) fn ends(&mut self, body: Length) {
        self.body = Some(body);
    }

    /// The request is answered. Whether more was read than that: a part of a next head, or all of it.
    pub(super) fn is_answered(&mut self) -> bool {
        let is_all = match (&self.at, self.body) {
            (At::Behind(read), Some(Length::Bytes(body))) => {
                read.saturating_sub(self.blank) <= body
            }
            (_, Some(Length::Bytes(1..))) => false,
            _ => self.line_breaks >= 2,
        };
        self.at = if is_all { At::Blank } else { At::Unknown };
        if is_all {
            (self.line_breaks, self.blank) = (0, 0);
        }
        !is_all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &str = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    const GET: &str = "GET / HTTP/1.1\nhost: x\n\n";
    const CHUNKED: &str = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";

    fn read(heads: &mut Heads, parts: &[&str], body: Length) -> bool {
        for part in parts {
            heads.read(part.as_bytes());
        }
        heads.ends(body);
        heads.is_answered()
    }

    #[test]
    fn line_breaks_before_or_behind_a_request_begin_no_head() {
        for (text, body) in [
            (format!("{POST}abc\r\n"), 3),
            (format!("{GET}\r\n"), 0),
            (format!("\r\n\r\n{POST}abc"), 3),
        ] {
            for cut in 0..text.len() {
                let (one, other) = text.split_at(cut);
                let mut heads = Heads::default();
                assert!(
                    !read(&mut heads, &[one, other], Length::Bytes(body)),
                    "{cut}"
                );
                heads.read(b"\n");
                assert!(read(&mut heads, &[one, other, "G"], Length::Bytes(body)));
            }
        }
    }

    #[test]
    fn a_head_that_begins_behind_a_request_is_noticed_however_the_bytes_are_cut() {
        for cut in 0..POST.len() + 3 {
            let whole = format!("{POST}abc");
            let (one, other) = whole.split_at(cut);
            let mut heads = Heads::default();
            assert!(!read(&mut heads, &[one, other], Length::Bytes(3)));
            assert!(!read(&mut heads, &[one, other], Length::Bytes(3)), "{cut}");
            assert!(
                read(&mut heads, &[one, other, "G"], Length::Bytes(3)),
                "{cut}"
            );
        }
        for (text, body) in [
            (GET, Length::Bytes(0)),
            (&format!("{CHUNKED}1\r\na\r\n0\r\n\r\n"), Length::Chunked),
        ] {
            for cut in 0..text.len() {
                let (one, other) = text.split_at(cut);
                let mut heads = Heads::default();
                assert!(!read(&mut heads, &[one, other], body), "{text}");
                assert!(read(&mut heads, &[one, other, "GE"], body), "{text}");
                // The rest of that next request.
                assert!(!read(
                    &mut heads,
                    &["T / HTTP/1.1\r\n", "\r\n"],
                    Length::Bytes(0)
                ));
                assert!(!read(&mut heads, &[one, other], body), "{text}");
            }
        }
    }
}
