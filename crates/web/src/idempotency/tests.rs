use axum::{body::Bytes, http::Request};

use super::*;
use crate::auth::Caller;

async fn key(
    user: &str,
    (method, path): (&str, &str),
    body: &'static str,
    key: Option<&str>,
) -> Result<IdempotencyKey, Refusal> {
    let user = User {
        id: user.to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .extension(Caller::by_header(user))
        .extension(WholeBody(Bytes::from_static(body.as_bytes())));
    if let Some(key) = key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    IdempotencyKey::from_request_parts(&mut parts, &()).await
}

async fn given_key(given: Option<&str>) -> Result<IdempotencyKey, Refusal> {
    key("alice", ("POST", "/"), "{}", given).await
}

async fn claim(user: &str, request: (&str, &str), body: &'static str) -> Claim {
    let key = key(user, request, body, Some("a-key")).await;
    key.ok().unwrap().0.unwrap()
}

#[tokio::test]
async fn a_key_is_one_string_of_1_to_255_characters_in_quotes_or_without() {
    let longest = "x".repeat(255);
    for (given, meant) in [
        ("a", "a"),
        ("\"a\"", "a"),
        (&longest, &longest),
        (&format!("\"{longest}\""), &longest),
        ("\"two words\"", "two words"),
        ("\"a, b\"", "a, b"),
        (r#""a\"b\\c""#, r#"a"b\c"#),
        ("a;b", "a;b"),
    ] {
        let claim = given_key(Some(given)).await.ok().unwrap().0.unwrap();
        assert_eq!(claim.id.key, meant);
    }
    for refused in [
        "",
        "\"\"",
        "\"",
        "two words",
        "\u{e9}",
        &"x".repeat(256),
        "a,b",
        "a, b",
        "\"a\", \"b\"",
        "\"a\",\"b\"",
        "\"a\"b\"",
        "a\"b",
        r#""a\"#,
        r#""a\b""#,
        "\"a\tb\"",
        "\"a\";b=1",
    ] {
        let found = given_key(Some(refused)).await;
        assert!(matches!(found, Err(Refusal::Invalid(_))), "{refused}");
    }
    let none = given_key(None).await.ok().unwrap();
    assert!(none.0.is_none());
}

#[tokio::test]
async fn two_keys_are_none_that_counts_in_whichever_order_they_come() {
    for keys in [["a", "b"], ["b", "a"], ["a", "a"], ["a", ""]] {
        let request = Request::builder().uri("/");
        let request = request.header(IDEMPOTENCY_KEY, keys[0]);
        let request = request.header(IDEMPOTENCY_KEY, keys[1]).body(());
        let mut parts = request.unwrap().into_parts().0;
        let found = IdempotencyKey::from_request_parts(&mut parts, &()).await;
        assert!(matches!(found, Err(Refusal::Invalid(_))), "{keys:?}");
    }
}

#[tokio::test]
async fn a_key_is_of_one_user_and_of_one_request_to_the_byte() {
    let first = claim("alice", ("PUT", "/a"), "{}").await;
    let again = claim("alice", ("PUT", "/a"), "{}").await;
    assert_eq!(
        (&first.id, &first.fingerprint),
        (&again.id, &again.fingerprint)
    );
    assert_ne!(claim("bob", ("PUT", "/a"), "{}").await.id, first.id);
    for (request, body) in [
        (("POST", "/a"), "{}"),
        (("PUT", "/b"), "{}"),
        (("PUT", "/a"), "{ }"),
    ] {
        let other = claim("alice", request, body).await;
        assert_eq!(other.id, first.id);
        assert_ne!(other.fingerprint, first.fingerprint, "{request:?} {body}");
    }
}

proptest::proptest! {
    #[test]
    fn a_key_in_quotes_is_what_was_meant_and_no_text_makes_it_panic(meant in "[ -~]{1,100}", text in "[ -~]{0,100}") {
        let escaped = meant.replace('\\', "\\\\").replace('"', "\\\"");
        let quoted = HeaderValue::from_str(&format!("\"{escaped}\"")).unwrap();
        proptest::prop_assert_eq!(key_of(&quoted), Some(meant));
        let _ = key_of(&HeaderValue::from_str(&text).unwrap());
    }
}
