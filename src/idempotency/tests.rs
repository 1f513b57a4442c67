use axum::http::Request;

use super::*;

async fn key(method: &str, path: &str, key: Option<&str>) -> Result<IdempotencyKey, Error> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(key) = key {
        request = request.header(IDEMPOTENCY_KEY, key);
    }
    let mut parts = request.body(()).unwrap().into_parts().0;
    IdempotencyKey::from_request_parts(&mut parts, &()).await
}

async fn attempt(user: &str, request: (&str, &str), body: &str) -> Attempt {
    let user = User {
        id: user.to_owned(),
    };
    let key = key(request.0, request.1, Some("a-key")).await.unwrap();
    key.attempt(&user, body).unwrap()
}

#[tokio::test]
async fn a_key_is_1_to_255_visible_characters_in_quotes_or_without() {
    let longest = "x".repeat(255);
    for (given, meant) in [
        ("a", "a"),
        ("\"a\"", "a"),
        (&longest, &longest),
        (&format!("\"{longest}\""), &longest),
    ] {
        let found = key("POST", "/", Some(given)).await.ok().unwrap().key;
        assert_eq!(found.as_deref(), Some(meant));
    }
    for refused in ["", "\"\"", "two words", "\u{e9}", &"x".repeat(256)] {
        let found = key("POST", "/", Some(refused)).await;
        assert!(matches!(found, Err(Error::Validation(_))), "{refused}");
    }
    let none = key("POST", "/", None).await.ok().unwrap();
    let alice = User {
        id: "alice".to_owned(),
    };
    assert!(none.attempt(&alice, "{}").is_none());
}

#[tokio::test]
async fn a_key_is_of_one_user_and_of_one_request_to_the_byte() {
    let first = attempt("alice", ("PUT", "/a"), "{}").await;
    let again = attempt("alice", ("PUT", "/a"), "{}").await;
    assert_eq!(
        (&first.id, &first.fingerprint),
        (&again.id, &again.fingerprint)
    );
    assert_ne!(attempt("bob", ("PUT", "/a"), "{}").await.id, first.id);
    for (request, body) in [
        (("POST", "/a"), "{}"),
        (("PUT", "/b"), "{}"),
        (("PUT", "/a"), "{ }"),
    ] {
        let other = attempt("alice", request, body).await;
        assert_eq!(other.id, first.id);
        assert_ne!(other.fingerprint, first.fingerprint, "{request:?} {body}");
    }
}
