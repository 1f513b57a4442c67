//! Where frames of HTTP/2 begin and end in what was read, and the heads that they make up (RFC 9113 §4.1 and §6.2): h2 waits for the rest of
//! one for ever.

const HEADER_BYTES: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that have come.
    have: usize,
    /// Bytes that are to come of the frame, behind its header.
    left: usize,
    /// Whether a head has begun, of which more frames are to come.
    is_in_head: bool,
}

impl Frames {
    /// Whether a frame, or a head of several, has ended in these bytes.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        let mut has_ended = false;
        while !bytes.is_empty() {
            if self.have < HEADER_BYTES {
                let length = bytes.len().min(HEADER_BYTES - self.have);
                self.header[self.have..][..length].copy_from_slice(&bytes[..length]);
                self.have += length;
                bytes = &bytes[length..];
                if self.have < HEADER_BYTES {
                    break;
                }
                let [a, b, c, kind, flags, ..] = self.header;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                if [HEADERS, CONTINUATION].contains(&kind) {
                    self.is_in_head = flags & END_HEADERS == 0;
                }
            }
            let length = bytes.len().min(self.left);
            self.left -= length;
            bytes = &bytes[length..];
            if self.left == 0 {
                self.have = 0;
                has_ended |= !self.is_in_head;
            }
        }
        has_ended
    }

    /// Whether a frame or a head has begun that is not whole.
    pub(super) fn is_within(&self) -> bool {
        self.have > 0 || self.is_in_head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + usize::from(length), 7);
        frame
    }

    #[test]
    fn a_frame_or_a_head_that_is_not_whole_is_noticed_however_the_bytes_are_cut() {
        const SETTINGS: u8 = 4;
        let whole = [
            frame(SETTINGS, 0, 0),
            frame(HEADERS, 0, 5),
            frame(CONTINUATION, 0, 3),
            frame(CONTINUATION, END_HEADERS, 2),
            frame(HEADERS, END_HEADERS, 200),
            frame(0, 0, 30),
        ];
        let ends = [9, 9 + 37, 9 + 37 + 209, 9 + 37 + 209 + 39];
        let all = whole.concat();
        for cut in 0..=all.len() {
            let mut frames = Frames::default();
            frames.read(&all[..cut]);
            assert_eq!(frames.is_within(), cut > 0 && !ends.contains(&cut), "{cut}");
            let has_ended = frames.read(&all[cut..]);
            assert_eq!(has_ended, cut < all.len());
            assert!(!frames.is_within());
        }
    }
}
