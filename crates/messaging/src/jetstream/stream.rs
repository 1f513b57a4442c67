//! The stream: made where there is none, and checked for what the promise rests on where there is one.

use std::sync::atomic::Ordering;

use async_nats::jetstream::{ErrorCode, response::Response};
use serde::Deserialize;
use serde_json::Value;

use super::JetStream;

/// What a stream was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It was there.
    There,
    /// It was not, and has been made.
    Made,
}

/// A stream's configuration, of any server's version; absent members are as good as off.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Config {
    subjects: Vec<String>,
    retention: String,
    no_ack: bool,
    sealed: bool,
    mirror: Option<Value>,
    subject_transform: Option<Value>,
    max_age: i64,
    max_bytes: i64,
    max_msgs: i64,
    max_msgs_per_subject: i64,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
}

impl JetStream {
    /// Makes the stream where there is none, and checks one that is there. What makes "exactly once" or a replay weaker is accepted
    /// with a warning.
    ///
    /// # Errors
    /// When it can't be asked or made, or the promise can't be kept with it.
    pub(crate) async fn ensure_stream(&self) -> anyhow::Result<Found> {
        let name = &self.stream.name;
        let asked = format!("STREAM.INFO.{name}");
        match self.jetstream.request(asked, &()).await? {
            Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                self.jetstream.create_stream(self.stream.clone()).await?;
                self.forgets.store(false, Ordering::Relaxed);
                Ok(Found::Made)
            }
            Response::Err { error } => Err(error.into()),
            Response::Ok(Info { config }) => {
                config.check(name, &self.needed)?;
                let weaker = config.weaker();
                self.forgets.store(!weaker.is_empty(), Ordering::Relaxed);
                if !weaker.is_empty() {
                    tracing::warn!(
                        stream = name,
                        limits = weaker.join(", "),
                        "the stream forgets messages by limits of its own: a copy of a forgotten one is stored again, and a replay can't tell it from a lost one"
                    );
                }
                Ok(Found::There)
            }
        }
    }

    /// Whether a message that is not there may have been forgotten by the stream's limits.
    pub(super) fn forgets(&self) -> bool {
        self.forgets.load(Ordering::Relaxed)
    }
}

impl Config {
    fn check(&self, name: &str, needed: &[String]) -> anyhow::Result<()> {
        let missing: Vec<_> = needed.iter().filter(|it| !self.takes(it)).collect();
        anyhow::ensure!(
            missing.is_empty(),
            "stream {name} takes the subjects {:?}, not {missing:?}",
            self.subjects,
        );
        for (is_so, what) in [
            (self.no_ack, "acknowledges nothing (no_ack)"),
            (self.sealed, "is sealed"),
            (self.mirror.is_some(), "is a mirror"),
            (
                self.subject_transform.is_some(),
                "stores messages under other subjects (subject_transform)",
            ),
        ] {
            anyhow::ensure!(!is_so, "stream {name} {what}");
        }
        Ok(())
    }

    fn takes(&self, subject: &str) -> bool {
        self.subjects.iter().any(|taken| covers(taken, subject))
    }

    /// What makes it forget.
    fn weaker(&self) -> Vec<&'static str> {
        let limits = [
            (!matches!(&*self.retention, "" | "limits"), "retention"),
            (self.max_age > 0, "max_age"),
            (self.max_bytes > 0, "max_bytes"),
            (self.max_msgs > 0, "max_msgs"),
            (self.max_msgs_per_subject > 0, "max_msgs_per_subject"),
        ];
        let limits = limits.into_iter().filter(|(is_set, _)| *is_set);
        limits.map(|(_, name)| name).collect()
    }
}

/// Whether every subject of the pattern `subject` is one of `pattern`.
fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_covers_what_it_takes_all_of() {
        for (pattern, subject, is_covered) in [
            ("order.>", "order.created.*", true),
            ("order.*.*", "order.created.*", true),
            ("order.created.*", "order.created.*", true),
            (">", "order.created.*", true),
            ("order.*", "order.created.*", false),
            ("order.created.1", "order.created.*", false),
            ("order.created.*", "order.updated.*", false),
            ("order.created.*.*", "order.created.*", false),
            ("order.*.*", "order.>", false),
            ("order.created.*.>", "order.created.*", false),
        ] {
            assert_eq!(covers(pattern, subject), is_covered, "{pattern} {subject}");
        }
    }

    #[test]
    fn what_makes_a_stream_forget_is_told_by_its_name() {
        assert!(Config::default().weaker().is_empty());
        let config = Config {
            retention: "interest".to_owned(),
            max_age: 1,
            max_bytes: -1,
            max_msgs: -1,
            max_msgs_per_subject: 1,
            ..Config::default()
        };
        let weaker = ["retention", "max_age", "max_msgs_per_subject"];
        assert_eq!(config.weaker(), weaker);
    }
}
