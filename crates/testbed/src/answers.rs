//! What a service answers, as tests look at it.

use reqwest::Response;
use serde_json::Value;

/// The error, which has the form of all errors (RFC 9457), and this status.
pub async fn assert_problem(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    assert!(response.headers().contains_key("x-request-id"));
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["status"], status);
    let address = problem["type"].as_str().unwrap();
    assert!(address.starts_with("/problems/") && problem["title"].is_string());
    assert!(!problem["errors"].as_array().unwrap().is_empty());
    assert!(
        problem["errors"]
            .as_array()
            .unwrap()
            .iter()
            .all(|error| error["message"].is_string())
    );
    problem
}

/// A member of an answer that is a text.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
