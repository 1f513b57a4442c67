//! Text that others wrote, for people to read: nothing in it is obeyed by a terminal, or passes for another line of a log.

/// The text, with escapes in place of control characters and of those that change the direction of writing.
pub fn printable(text: &str) -> String {
    let is_obeyed = |c: char| {
        let turns =
            ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
        c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}')
    };
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            printable.extend(c.escape_default());
        } else {
            printable.push(c);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_other_text_is_not() {
        assert_eq!(printable("Größe 漢字 \"a\\b\""), "Größe 漢字 \"a\\b\"");
        let obeyed = "a\u{1b}[2Jb\nERROR c\r\t\u{9b}31m\u{202e}d\u{2028}\u{7f}";
        let escaped = "a\\u{1b}[2Jb\\nERROR c\\r\\t\\u{9b}31m\\u{202e}d\\u{2028}\\u{7f}";
        assert_eq!(printable(obeyed), escaped);
        for turns in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            let escaped = format!("a{}b", turns.escape_default());
            assert_eq!(printable(&format!("a{turns}b")), escaped);
        }
    }
}
