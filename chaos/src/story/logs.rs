//! The logs of servers and instances around certain moments.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    time::Duration,
};

use bson::DateTime;

const BEFORE: Duration = Duration::from_secs(15);
const AFTER: Duration = Duration::from_secs(10);

/// Copies of each log the lines of these times, which are RFC 3339; all of it where there are none.
pub(super) fn copy_around(from: &Path, to: &Path, times: Vec<DateTime>) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let spans: Vec<(String, String)> = times.into_iter().map(span).collect();
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path
            .file_name()
            .filter(|_| path.extension().is_some_and(|it| it == "log"))
        else {
            continue;
        };
        let mut copy = fs::File::create(to.join(name))?;
        let mut is_wanted = spans.is_empty();
        for line in BufReader::new(fs::File::open(&path)?).split(b'\n') {
            let line = line?;
            // A line without a time belongs to the one before.
            if let Some(time) = time_of(&String::from_utf8_lossy(&line)) {
                let is_in = |(first, last): &(String, String)| (first..=last).contains(&&time);
                is_wanted = spans.is_empty() || spans.iter().any(is_in);
            }
            if is_wanted {
                copy.write_all(&line)?;
                copy.write_all(b"\n")?;
            }
        }
    }
    Ok(())
}

fn span(at: DateTime) -> (String, String) {
    let text = |ms: i64| {
        seconds(
            &DateTime::from_millis(ms)
                .try_to_rfc3339_string()
                .unwrap_or_default(),
        )
    };
    let at_ms = at.timestamp_millis();
    let (before, after) = (BEFORE.as_millis() as i64, AFTER.as_millis() as i64);
    (text(at_ms - before), text(at_ms + after))
}

/// To the second: `2026-11-28T04:42:13`.
fn seconds(text: &str) -> String {
    text.chars().take(19).collect()
}

/// Of a line of the service, of MongoDB or of NATS, each of which writes it in its own way, in UTC.
fn time_of(line: &str) -> Option<String> {
    let is_digit = |at: usize| line.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let at = |first: usize| {
        let time = line.get(first..first + 19)?;
        let bytes = time.as_bytes();
        let is_date = is_digit(first) && [bytes[4], bytes[7]].iter().all(|it| b"-/".contains(it));
        let is_time = b"T ".contains(&bytes[10]) && bytes[13] == b':' && bytes[16] == b':';
        (is_date && is_time).then(|| time.replace('/', "-").replacen(' ', "T", 1))
    };
    (0..line.len().min(40)).find_map(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_line_is_read_however_it_is_written() {
        let lines = [
            "2026-11-28T04:42:10.038228Z  WARN db::transaction: writes are not answered",
            "[7308] 2026/11/28 04:42:10.158547 [INF] JetStream cluster new metadata leader",
            r#"{"t":{"$date":"2026-11-28T04:42:10.463+00:00"},"s":"I","msg":"é"}"#,
        ];
        for line in lines {
            assert_eq!(
                time_of(line).as_deref(),
                Some("2026-11-28T04:42:10"),
                "{line}"
            );
        }
        assert_eq!(time_of("   0: core::panicking"), None);
    }

    #[test]
    fn only_lines_around_the_moments_are_copied() {
        let folder = std::env::temp_dir().join(format!("chaos-logs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let log = "2026-11-28T04:42:10Z early\n2026-11-28T04:43:00Z here\n  and on\n2026-11-28T04:44:00Z late\n";
        fs::write(folder.join("a.log"), log).unwrap();
        let at = DateTime::parse_rfc3339_str("2026-11-28T04:43:05Z").unwrap();
        copy_around(&folder, &folder.join("copy"), vec![at]).unwrap();
        let copied = fs::read_to_string(folder.join("copy/a.log")).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(copied, "2026-11-28T04:43:00Z here\n  and on\n");
    }
}
