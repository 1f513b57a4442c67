//! What answers say, to the one who wrote, from the store of answers, and to readers.

use super::*;

fn read(version: i64, write: &str) -> Read {
    Read {
        key: "k".to_owned(),
        version: Some(version),
        says: data(version, write),
        began_ms: 5,
        ended_ms: 6,
    }
}

#[test]
fn an_answer_whose_etag_location_or_body_is_not_what_was_saved_is_a_wrong_answer() {
    let differing: [fn(&mut Answer); 4] = [
        |answer| answer.etag = Some("\"1\"".to_owned()),
        |answer| answer.etag = None,
        |answer| answer.location = Some("/things/another".to_owned()),
        |answer| answer.body["size"] = json!(2),
    ];
    for differs in differing {
        let mut observed = good();
        differs(&mut observed.attempts[0].answers[0]);
        observed.answers[0].answer = observed.attempts[0].answers[0].clone();
        assert_eq!(kinds(&observed), [Kind::WrongAnswer]);
    }
}

#[test]
fn two_answers_to_one_write_that_differ_are_a_wrong_answer() {
    let mut twice = good();
    let same = twice.attempts[2].answers[0].clone();
    twice.attempts[2].answers.push(same);
    assert_eq!(kinds(&twice), []);

    let refused = Answer {
        status: 403,
        etag: None,
        ..answer(2, "c")
    };
    twice.attempts[2].answers.push(refused);
    assert_eq!(kinds(&twice), [Kind::WrongAnswer]);
}

#[test]
fn a_write_with_a_key_has_its_answer_in_the_store_and_no_other_has_one() {
    for without in 0..3 {
        let mut observed = good();
        observed.answers.remove(without);
        assert_eq!(kinds(&observed), [Kind::Half]);
    }
    let mut keyless = good();
    keyless.attempts[0].intent = Intent::Keyless;
    assert_eq!(kinds(&keyless), [Kind::Half]);
    keyless.answers.remove(0);
    assert_eq!(kinds(&keyless), []);

    for nobodys in ["r", "nobody"] {
        let mut observed = good();
        observed.answers.push(StoredAnswer {
            trace: nobodys.to_owned(),
            answer: answer(3, nobodys),
        });
        assert_eq!(kinds(&observed), [Kind::Half]);
    }
}

#[test]
fn a_stored_answer_that_is_not_the_one_that_was_given_is_a_wrong_answer() {
    let mut another = good();
    another.answers[0].answer.body["size"] = json!(2);
    assert_eq!(kinds(&another), [Kind::WrongAnswer]);
}

#[test]
fn a_change_that_changes_nothing_may_be_told_the_version_that_was_there() {
    let mut no_change = good();
    let mut again = attempt("n", accepted(1));
    again.says = json!({ "title": "b" });
    again.answers = vec![answer(1, "b")];
    again.began_ms = 0;
    no_change.answers.push(StoredAnswer {
        trace: "n".to_owned(),
        answer: answer(1, "b"),
    });
    no_change.attempts.push(again);
    assert_eq!(kinds(&no_change), []);

    no_change.attempts[4].says = json!({ "title": "n" });
    assert_eq!(kinds(&no_change), [Kind::Lost]);
}

#[test]
fn a_read_of_what_no_event_says_is_a_wrong_answer() {
    let mut same = good();
    same.reads.push(read(2, "c"));
    same.reads.push(Read {
        says: Value::Null,
        ..read(2, "c")
    });
    assert_eq!(kinds(&same), []);

    for wrong in [read(2, "z"), read(3, "c")] {
        let mut observed = good();
        observed.reads.push(wrong);
        assert_eq!(kinds(&observed), [Kind::WrongAnswer]);
    }
}
