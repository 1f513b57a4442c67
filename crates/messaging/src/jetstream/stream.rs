//! The stream: made where there is none, and checked for what the promise rests on where there is one.

use std::{sync::atomic::Ordering, time::Instant};

use async_nats::jetstream::{ErrorCode, response::Response};
use serde::Deserialize;
use serde_json::Value;

use super::JetStream;

/// What a stream was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamState {
    /// It was there.
    There,
    /// It was not, and has been made.
    Made,
    /// It is there, and the promise can't be kept with it: why.
    Unfit(String),
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
    state: State,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    /// Of those behind the first that are gone.
    #[serde(default)]
    num_deleted: u64,
}

impl JetStream {
    /// Makes the stream where there is none, and checks one that is there. What makes "exactly once" or a replay weaker is accepted
    /// with a warning.
    pub(crate) async fn ensure_stream(&self) -> anyhow::Result<StreamState> {
        let began = Instant::now();
        let found = self.look_for_stream().await;
        found.map_err(|error| self.explained_answer(error, began))
    }

    async fn look_for_stream(&self) -> anyhow::Result<StreamState> {
        let name = &self.stream.name;
        let asked = format!("STREAM.INFO.{name}");
        match self.jetstream.request(asked, &()).await? {
            Response::Err { error } if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                self.jetstream.create_stream(self.stream.clone()).await?;
                self.forgets.store(false, Ordering::Relaxed);
                Ok(StreamState::Made)
            }
            Response::Err { error } => Err(error.into()),
            Response::Ok(Info { config, .. }) => {
                if let Err(unfit) = config.check(name, &self.needed) {
                    return Ok(StreamState::Unfit(unfit));
                }
                let tells = self.skipped.iter().all(|subject| config.takes(subject));
                if !tells && self.tells_skips.swap(false, Ordering::Relaxed) {
                    tracing::warn!(
                        stream = name,
                        subjects = ?self.skipped,
                        "the stream does not take the subjects that tell of skipped events: `outbox skip` refuses"
                    );
                }
                let weaker = config.weaker();
                let was_told = self.forgets.swap(!weaker.is_empty(), Ordering::Relaxed);
                if !weaker.is_empty() && !was_told {
                    tracing::warn!(
                        stream = name,
                        limits = weaker.join(", "),
                        "the stream forgets messages by limits of its own: a copy of a forgotten one is stored again, and a replay can't tell it from a lost one"
                    );
                }
                Ok(StreamState::There)
            }
        }
    }

    /// Whether messages are gone by limits of the stream's own.
    pub(super) async fn has_lost_its_beginning(&self) -> anyhow::Result<bool> {
        let asked = format!("STREAM.INFO.{}", self.stream.name);
        match self.jetstream.request(asked, &()).await? {
            Response::Err { error } => Err(error.into()),
            Response::Ok(Info { config, state }) => {
                let has_lost = state.first_seq > 1 || state.num_deleted > 0;
                Ok(has_lost && !config.weaker().is_empty())
            }
        }
    }

    /// Whether the stream takes messages of this type.
    pub(crate) async fn takes(&self, r#type: &str) -> anyhow::Result<bool> {
        let subject = format!("{}{type}.*", self.prefix);
        let stream = self.stream().await?;
        Ok(stream.is_none_or(|stream| {
            let subjects = &stream.cached_info().config.subjects;
            subjects.iter().any(|taken| covers(taken, &subject))
        }))
    }

    /// Whether a message that is not there may have been forgotten by the stream's limits.
    pub(super) fn forgets(&self) -> bool {
        self.forgets.load(Ordering::Relaxed)
    }
}

impl Config {
    fn check(&self, name: &str, needed: &[String]) -> Result<(), String> {
        // A mirror has no subjects: what it is says more than what it lacks.
        for (is_so, what) in [
            (self.no_ack, "acknowledges nothing (no_ack)"),
            (self.sealed, "is sealed"),
            (self.mirror.is_some(), "is a mirror"),
            (
                self.subject_transform.is_some(),
                "stores messages under other subjects (subject_transform)",
            ),
        ] {
            if is_so {
                return Err(format!("stream {name} {what}"));
            }
        }
        let missing: Vec<_> = needed.iter().filter(|it| !self.takes(it)).collect();
        if !missing.is_empty() {
            return Err(format!(
                "stream {name} takes the subjects {:?}, not {missing:?}",
                self.subjects,
            ));
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

    /// What is told, and a change of a configuration.
    type Case = (&'static str, fn(&mut Config));

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

    #[test]
    fn each_limit_makes_a_stream_forget() {
        let limits: [Case; 5] = [
            ("retention", |it| it.retention = "workqueue".to_owned()),
            ("max_age", |it| it.max_age = 1),
            ("max_bytes", |it| it.max_bytes = 1),
            ("max_msgs", |it| it.max_msgs = 1),
            ("max_msgs_per_subject", |it| it.max_msgs_per_subject = 1),
        ];
        for (name, set) in limits {
            let mut config = Config::default();
            set(&mut config);
            assert_eq!(config.weaker(), [name]);
        }
    }

    #[test]
    fn a_stream_is_unfit_that_does_not_take_acknowledge_and_keep_what_is_ours() {
        let needed = ["order.created.*".to_owned(), "order.updated.*".to_owned()];
        let fit = || Config {
            subjects: vec!["order.>".to_owned()],
            ..Config::default()
        };
        assert_eq!(fit().check("SHOP", &needed), Ok(()));
        let unfit: [Case; 5] = [
            ("not [\"order.updated.*\"]", |it| {
                it.subjects = vec!["order.created.*".to_owned()];
            }),
            ("no_ack", |it| it.no_ack = true),
            ("is sealed", |it| it.sealed = true),
            ("is a mirror", |it| it.mirror = Some(Value::Null)),
            ("subject_transform", |it| {
                it.subject_transform = Some(Value::Null)
            }),
        ];
        for (why, set) in unfit {
            let mut config = fit();
            set(&mut config);
            let told = config.check("SHOP", &needed).unwrap_err();
            assert!(told.contains("SHOP") && told.contains(why), "{told}");
        }
    }
}
