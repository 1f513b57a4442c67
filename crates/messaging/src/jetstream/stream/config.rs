//! A stream's configuration: what the promise can't be kept with, and what makes it weaker.

use serde::Deserialize;
use serde_json::Value;

/// Of any server's version; absent members are as good as off. What is not named here changes nothing of what is ours: `allow_atomic`,
/// `allow_msg_schedules` and `allow_msg_ttl` are for messages that ask for it, `deny_delete`, `deny_purge`, `allow_direct` and
/// `mirror_direct` for what we never do, `republish` and `sources` for other subjects and streams.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Config {
    subjects: Vec<String>,
    retention: String,
    storage: String,
    persist_mode: String,
    discard: String,
    discard_new_per_subject: bool,
    no_ack: bool,
    sealed: bool,
    mirror: Option<Value>,
    subject_transform: Option<Value>,
    allow_msg_counter: bool,
    subject_delete_marker_ttl: i64,
    max_age: i64,
    max_bytes: i64,
    max_msgs: i64,
    max_msgs_per_subject: i64,
}

impl Config {
    /// Why what it acknowledges is not kept as it was published.
    pub(super) fn unfit(&self) -> Option<&'static str> {
        let unfit = [
            (self.no_ack, "acknowledges nothing (no_ack)"),
            (self.sealed, "is sealed"),
            (self.mirror.is_some(), "is a mirror"),
            (
                self.subject_transform.is_some(),
                "stores messages under other subjects (subject_transform)",
            ),
            (
                self.allow_msg_counter,
                "takes counters only (allow_msg_counter)",
            ),
            (
                self.subject_delete_marker_ttl > 0,
                "puts messages of its own under our subjects (subject_delete_marker_ttl)",
            ),
        ];
        let mut unfit = unfit.into_iter().filter(|(is_so, _)| *is_so);
        unfit.next().map(|(_, what)| what)
    }

    /// Which of the subjects it does not take.
    pub(super) fn lacks(&self, needed: &[String]) -> Option<String> {
        let takes = |subject: &str| self.subjects.iter().any(|taken| covers(taken, subject));
        let missing: Vec<_> = needed.iter().filter(|it| !takes(it)).collect();
        (!missing.is_empty())
            .then(|| format!("takes the subjects {:?}, not {missing:?}", self.subjects))
    }

    /// What makes it forget. One that refuses what is new where it is full forgets nothing for that.
    pub(super) fn forgets(&self) -> Vec<&'static str> {
        let keeps = self.discard == "new";
        let keeps_each = keeps && self.discard_new_per_subject;
        let limits = [
            (!matches!(&*self.retention, "" | "limits"), "retention"),
            (self.max_age > 0, "max_age"),
            (self.max_bytes > 0 && !keeps, "max_bytes"),
            (self.max_msgs > 0 && !keeps, "max_msgs"),
            (
                self.max_msgs_per_subject > 0 && !keeps_each,
                "max_msgs_per_subject",
            ),
        ];
        named(limits)
    }

    /// What a server that ends takes with it.
    pub(super) fn loses(&self) -> Vec<&'static str> {
        named([
            (self.storage == "memory", "storage: memory"),
            (self.persist_mode == "async", "persist_mode: async"),
        ])
    }
}

fn named<const N: usize>(of: [(bool, &'static str); N]) -> Vec<&'static str> {
    let those = of.into_iter().filter(|(is_so, _)| *is_so);
    those.map(|(_, name)| name).collect()
}

/// Whether every subject of the pattern `subject` is one of `pattern`.
pub(super) fn covers(pattern: &str, subject: &str) -> bool {
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
        assert!(Config::default().forgets().is_empty());
        let config = Config {
            retention: "interest".to_owned(),
            max_age: 1,
            max_bytes: -1,
            max_msgs: -1,
            max_msgs_per_subject: 1,
            ..Config::default()
        };
        let weaker = ["retention", "max_age", "max_msgs_per_subject"];
        assert_eq!(config.forgets(), weaker);
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
            assert_eq!(config.forgets(), [name]);
        }
    }

    #[test]
    fn a_stream_that_refuses_what_is_new_forgets_nothing_where_it_is_full() {
        let full = || Config {
            discard: "new".to_owned(),
            max_bytes: 1,
            max_msgs: 1,
            max_msgs_per_subject: 1,
            ..Config::default()
        };
        assert_eq!(full().forgets(), ["max_msgs_per_subject"]);
        let config = Config {
            discard_new_per_subject: true,
            max_age: 1,
            ..full()
        };
        assert_eq!(config.forgets(), ["max_age"]);
    }

    #[test]
    fn a_stream_is_narrow_that_does_not_take_all_that_is_ours() {
        let needed = ["order.created.*".to_owned(), "order.updated.*".to_owned()];
        let of = |subject: &str| Config {
            subjects: vec![subject.to_owned()],
            ..Config::default()
        };
        assert_eq!(of("order.>").lacks(&needed), None);
        let told = of("order.created.*").lacks(&needed).unwrap();
        assert!(told.contains("not [\"order.updated.*\"]"), "{told}");
    }

    #[test]
    fn a_stream_is_unfit_that_does_not_acknowledge_and_keep_what_is_published() {
        assert_eq!(Config::default().unfit(), None);
        let unfit: [Case; 6] = [
            ("no_ack", |it| it.no_ack = true),
            ("is sealed", |it| it.sealed = true),
            ("is a mirror", |it| it.mirror = Some(Value::Null)),
            ("subject_transform", |it| {
                it.subject_transform = Some(Value::Null)
            }),
            ("allow_msg_counter", |it| it.allow_msg_counter = true),
            ("subject_delete_marker_ttl", |it| {
                it.subject_delete_marker_ttl = 1;
            }),
        ];
        for (why, set) in unfit {
            let mut config = Config::default();
            set(&mut config);
            let told = config.unfit().unwrap();
            assert!(told.contains(why), "{told}");
        }
    }
}
