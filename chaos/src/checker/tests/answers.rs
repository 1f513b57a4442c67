//! Each answer against the one that it had to be.

use super::*;

/// The good history, and a write that had to be answered `expected` and was answered `status`.
fn refused(expected: u16, status: u16) -> Observed {
    let mut observed = good();
    observed.attempts.push(Attempt {
        expected,
        status,
        ..attempt("another", Outcome::Refused)
    });
    observed
}

#[test]
fn a_refusal_of_what_had_to_be_refused_with_its_status_is_right() {
    for status in [400, 403, 412] {
        assert_eq!(kinds(&refused(status, status)), []);
    }
}

#[test]
fn a_refusal_with_another_status_than_it_had_to_have_is_a_wrong_status() {
    for (expected, status) in [(412, 403), (403, 412), (400, 401), (403, 404)] {
        assert_eq!(kinds(&refused(expected, status)), [Kind::WrongStatus]);
    }
}

#[test]
fn a_refusal_of_what_had_to_be_accepted_is_wrongly_refused() {
    for (expected, status) in [(201, 401), (200, 404), (200, 422)] {
        assert_eq!(kinds(&refused(expected, status)), [Kind::WronglyRefused]);
    }
}

#[test]
fn an_acceptance_of_what_had_to_be_refused_is_wrongly_accepted() {
    let mut told = good();
    told.attempts[2].expected = 403;
    assert_eq!(kinds(&told), [Kind::WronglyAccepted]);

    // Nobody was told, but it was saved.
    let mut saved = good();
    saved.attempts[1].expected = 403;
    saved.attempts[1].intent = Intent::Keyless;
    saved.answers.remove(1);
    assert_eq!(kinds(&saved), [Kind::WronglyAccepted]);

    let mut unknown = good();
    unknown.attempts.push(Attempt {
        expected: 403,
        ..attempt("another", Outcome::Unknown)
    });
    assert_eq!(kinds(&unknown), []);
}

#[test]
fn an_acceptance_with_the_status_of_another_is_a_wrong_status() {
    let mut created = good();
    created.attempts[0].status = 200;
    assert_eq!(kinds(&created), [Kind::WrongStatus]);
}
