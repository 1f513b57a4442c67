//! The file `.env` of the current directory: values are literal, and of a name that stands twice the last counts. A file that is read
//! otherwise by two programs would give them two keys: where a `$` means a variable to Docker Compose and itself to Node, it is refused.

use std::{collections::BTreeMap, fs, io};

const FILE: &str = ".env";

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    line: usize,
    name: String,
    value: String,
}

/// Sets what the file says, where there is one, and nothing is set already: empty is not set. Call it before any thread starts. Returns a line
/// about each name that stands twice.
///
/// # Errors
/// One line that names the file and the line in it, never its contents.
pub(crate) fn load() -> Result<Vec<String>, String> {
    let text = match fs::read_to_string(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{FILE} cannot be read: {error}")),
        Ok(text) => text,
    };
    let (mut counts, mut twice) = (BTreeMap::new(), Vec::new());
    for entry in read(&text)? {
        let line = entry.line;
        if let Some(earlier) = counts.insert(entry.name.clone(), entry) {
            let Entry {
                line: first, name, ..
            } = earlier;
            twice.push(format!(
                "{FILE} names {name} twice, in lines {first} and {line}: the last counts"
            ));
        }
    }
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    counts.retain(|name, entry| !entry.value.is_empty() && !is_set(name));
    counts
        .values()
        .try_for_each(|entry| set(&entry.name, &entry.value))?;
    Ok(twice)
}

/// Sets a variable; call it before any thread starts. The environment can't be written without `unsafe`, but for this crate, which
/// reads its own format.
///
/// # Errors
/// One line that names the variable.
pub(crate) fn set(name: &str, value: &str) -> Result<(), String> {
    let line = line(name, value);
    let set = dotenvy::Iter::new(line.as_bytes()).load_override();
    set.map_err(|_| format!("{name} cannot be used: it is not text for a variable"))
}

/// As dotenvy reads it.
fn line(name: &str, value: &str) -> String {
    let mut quoted = String::new();
    for character in value.chars() {
        if "\\\"$".contains(character) {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    format!("{name}=\"{}\"\n", quoted.replace('\n', "\\n"))
}

fn read(text: &str) -> Result<Vec<Entry>, String> {
    let wrong = |line: usize, wants: &str| format!("{FILE}, line {line}: it wants {wants}");
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let (mut rest, mut line, mut entries) = (text.as_str(), 1, Vec::new());
    while !rest.is_empty() {
        let first = rest.split('\n').next().unwrap_or_default();
        let is_entry = !matches!(first.trim_start().chars().next(), None | Some('#'));
        let mut taken = first.len();
        if is_entry {
            let (name, value) = first
                .split_once('=')
                .filter(|(name, _)| is_name(name_of(name)))
                .ok_or_else(|| wrong(line, "NAME=value"))?;
            let before = first.len() - value.trim_start().len();
            let (value, length) = value_of(&rest[before..]).map_err(|wants| wrong(line, wants))?;
            if value.contains('\0') {
                return Err(wrong(line, "text"));
            }
            let name = name_of(name).to_owned();
            entries.push(Entry { line, name, value });
            taken = before + length;
        }
        let end = (taken + 1).min(rest.len());
        line += rest[..end].matches('\n').count();
        rest = &rest[end..];
    }
    Ok(entries)
}

fn name_of(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("export ").unwrap_or(text).trim()
}

fn is_name(name: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "_.".contains(it);
    name.chars().all(is_part) && name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
}

/// The value that `text` begins with, and the length of all up to the end of its line.
fn value_of(text: &str) -> Result<(String, usize), &'static str> {
    const DOLLAR: &str = "a value with a $ in single quotes: without them, Docker Compose puts a variable in its place";
    let Some(quote) = text.chars().next().filter(|it| "'\"".contains(*it)) else {
        let line = text.split('\n').next().unwrap_or_default();
        let value = without_comment(line).trim_end();
        return if value.contains('$') {
            Err(DOLLAR)
        } else {
            Ok((value.to_owned(), line.len()))
        };
    };
    let unended = "an end of the quotes, and nothing behind it";
    let (mut value, mut characters) = (String::new(), text.char_indices().skip(1));
    let end = loop {
        match characters.next().ok_or(unended)? {
            (at, it) if it == quote => break at + 1,
            (_, '\\') if quote == '"' => match characters.next().ok_or(unended)?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                it if "\\\"$".contains(it) => value.push(it),
                it => value.extend(['\\', it]),
            },
            (_, '$') if quote == '"' => return Err(DOLLAR),
            (_, it) => value.push(it),
        }
    };
    let behind = text[end..].split('\n').next().unwrap_or_default();
    let is_end = without_comment(behind).trim().is_empty();
    if is_end {
        Ok((value, end + behind.len()))
    } else {
        Err(unended)
    }
}

/// A comment begins with a # behind a blank, or at the beginning.
fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| {
        line[..*at]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace)
    };
    let comment = line.match_indices('#').find(begins);
    comment.map_or(line, |(at, _)| &line[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(usize, String, String)> {
        let entries = read(text).unwrap().into_iter();
        entries.map(|it| (it.line, it.name, it.value)).collect()
    }

    fn value(text: &str) -> String {
        let mut entries = read(&format!("A={text}")).unwrap();
        assert_eq!(entries.len(), 1, "{text}");
        entries.remove(0).value
    }

    #[test]
    fn a_value_is_literal() {
        for (written, meant) in [
            (r"a\b", r"a\b"),
            ("a b  ", "a b"),
            ("a=b", "a=b"),
            ("a#b", "a#b"),
            ("a # b", "a"),
            ("# b", ""),
            ("  a", "a"),
            ("", ""),
            ("'a$B \"c\" \\n # d' # e", "a$B \"c\" \\n # d"),
            ("'abc$Zed9tail'", "abc$Zed9tail"),
            ("\"a 'c' # d\"", "a 'c' # d"),
            ("a # $b", "a"),
            (r#""a\"b\\c\nd\$e\f""#, "a\"b\\c\nd$e\\f"),
            ("a'b", "a'b"),
            ("\"a\nb\"", "a\nb"),
        ] {
            assert_eq!(value(written), meant, "{written}");
        }
    }

    #[test]
    fn lines_are_counted_and_what_is_none_is_told_by_its_line() {
        let text = "\u{feff}# one\r\n\r\nA=1\r\nexport B_2='x\ny'\n  # six\nA=2";
        let expected = [(3, "A", "1"), (4, "B_2", "x\ny"), (7, "A", "2")];
        let expected =
            expected.map(|(line, name, value)| (line, name.to_owned(), value.to_owned()));
        assert_eq!(pairs(text), expected);
        for (text, line) in [
            ("A=1\nnonsense\n", 2),
            ("=1", 1),
            ("\n\n2A=1", 3),
            ("A B=1", 1),
            ("A=1\nB='x\n\n", 2),
            ("A=\"x\" y", 1),
        ] {
            let told = read(text).unwrap_err();
            assert!(
                told.starts_with(&format!(".env, line {line}: it wants ")),
                "{told}"
            );
            assert!(!told.contains("nonsense"), "{told}");
        }
    }

    #[test]
    fn a_dollar_that_others_take_for_a_variable_is_refused_with_its_line() {
        for ambiguous in ["abc$Zed9tail", "a${B}c", "$$", "a$", "\"a$B\"", "\"\n$B\""] {
            let told = read(&format!("# one\nA={ambiguous}\n")).unwrap_err();
            let wants = ".env, line 2: it wants a value with a $ in single quotes";
            assert!(told.starts_with(wants), "{ambiguous}: {told}");
            assert!(!told.contains("Zed9"), "{told}");
        }
    }

    proptest! {
        #[test]
        fn dotenvy_sets_what_was_read(value in "[^\\x00\\r]{1,40}") {
            let read = dotenvy::Iter::new(line("A", &value).as_bytes()).next().unwrap().unwrap();
            prop_assert_eq!(read, ("A".to_owned(), value));
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "([A-Z= '\"\\\\#\n$]|.){0,40}") {
            let _ = read(&text);
        }
    }
}
