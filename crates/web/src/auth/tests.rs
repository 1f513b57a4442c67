use std::{sync::Arc, time::SystemTime};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode},
    middleware,
    routing::any,
};
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::*;

const KEY: &str = "a key of thirty-two bytes or more";
const NOBODY: Result<String, StatusCode> = Err(StatusCode::UNAUTHORIZED);
const CROSS_SITE: Result<String, StatusCode> = Err(StatusCode::FORBIDDEN);

impl Caller {
    /// Whoever it is, by header.
    pub(crate) fn by_header(user: User) -> Self {
        Self {
            user: Ok(user),
            is_by_cookie: false,
        }
    }
}

fn options() -> HttpOptions {
    let flags = [
        "--session-cookie=session",
        "--cors-origins=https://app.example.com",
    ];
    let key = format!("--jwt-key={KEY}");
    db::setting::options(flags.map(str::to_owned).into_iter().chain([key])).unwrap()
}

/// Seconds from now, which may be past.
fn seconds(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap() + from_now
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(KEY.as_bytes());
    encode(&Header::default(), claims, &key).unwrap()
}

/// The session of alice, as a browser sends it along.
fn session() -> String {
    let session = json!({ "jwt": token(&json!({ "sub": "alice", "exp": seconds(60) })) });
    format!("session={}", STANDARD.encode(session.to_string()))
}

/// Who is calling, as a handler is told; or the status of the refusal.
async fn asked(method: &str, headers: &[(&str, &str)]) -> Result<String, StatusCode> {
    asked_with(&options(), method, headers).await
}

async fn asked_with(
    options: &HttpOptions,
    method: &str,
    headers: &[(&str, &str)],
) -> Result<String, StatusCode> {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let auth = Arc::new(Authenticator::new(options).unwrap());
    let cross_site = middleware::from_fn_with_state(Arc::clone(&auth), refuse_cross_site);
    let identify = middleware::from_fn_with_state(auth, identify);
    let routes = Router::new().route("/", any(async |user: User| user.id));
    let request = request.body(Body::empty()).unwrap();
    let answer = routes.layer(cross_site).layer(identify).oneshot(request);
    let answer = answer.await.unwrap();
    if answer.status() != StatusCode::OK {
        return Err(answer.status());
    }
    let id = to_bytes(answer.into_body(), 1_000).await.unwrap();
    Ok(String::from_utf8(id.to_vec()).unwrap())
}

async fn user(headers: &[(&str, &str)]) -> Result<String, StatusCode> {
    asked("POST", headers).await
}

async fn user_of(claims: &Value) -> Result<String, StatusCode> {
    user(&[("authorization", &format!("Bearer {}", token(claims)))]).await
}

fn alice() -> Result<String, StatusCode> {
    Ok("alice".to_owned())
}

#[tokio::test]
async fn clocks_may_differ_by_half_a_minute_and_no_more() {
    for (expired, begins) in [(-25, 25), (600, 25), (-25, 0)] {
        let claims = json!({ "sub": "alice", "exp": seconds(expired), "nbf": seconds(begins) });
        assert_eq!(user_of(&claims).await, alice(), "{claims}");
    }
    for (expired, begins) in [(-35, -600), (600, 40)] {
        let claims = json!({ "sub": "alice", "exp": seconds(expired), "nbf": seconds(begins) });
        assert_eq!(user_of(&claims).await, NOBODY, "{claims}");
    }
}

#[tokio::test]
async fn every_claim_that_is_asked_for_has_to_be_there_whatever_else_is_asked_for() {
    let asked_for = |issuer: bool, audience: bool| {
        let mut options = options();
        options.jwt.jwt_issuer = issuer.then(|| "us".to_owned());
        options.jwt.jwt_audience = audience.then(|| "shop".to_owned());
        let required = [("exp", true), ("iss", issuer), ("aud", audience)];
        (options, required)
    };
    for (issuer, audience) in [(false, false), (true, false), (false, true), (true, true)] {
        let (options, claims) = asked_for(issuer, audience);
        let all = json!({ "sub": "alice", "exp": seconds(60), "iss": "us", "aud": "shop" });
        for (missing, is_required) in claims {
            let mut claims = all.clone();
            claims.as_object_mut().unwrap().remove(missing);
            let bearer = format!("Bearer {}", token(&claims));
            let user = asked_with(&options, "POST", &[("authorization", &bearer)]).await;
            let expected = if is_required { NOBODY } else { alice() };
            assert_eq!(
                user, expected,
                "issuer {issuer}, audience {audience}: no {missing}"
            );
        }
    }
}

#[tokio::test]
async fn a_user_has_a_name_that_is_not_empty() {
    let exp = seconds(60);
    for claims in [
        json!({ "sub": "", "exp": exp }),
        json!({ "id": "", "exp": exp }),
        json!({ "id": 7, "exp": exp }),
        json!({ "exp": exp }),
    ] {
        assert_eq!(user_of(&claims).await, NOBODY, "{claims}");
    }
}

#[tokio::test]
async fn the_scheme_is_bearer_however_it_is_spelt() {
    let token = token(&json!({ "sub": "alice", "exp": seconds(60) }));
    for fine in [format!("Bearer {token}"), format!("bearer  {token} ")] {
        assert_eq!(user(&[("authorization", &fine)]).await, alice());
    }
    for other in [format!("Basic {token}"), token.clone()] {
        assert_eq!(user(&[("authorization", &other)]).await, NOBODY, "{other}");
    }
}

#[tokio::test]
async fn a_page_of_another_site_is_refused_only_where_a_cookie_would_prove_who_calls() {
    let (cookie, cross) = (session(), ("sec-fetch-site", "cross-site"));
    assert_eq!(user(&[("cookie", &cookie)]).await, alice());
    assert_eq!(user(&[("cookie", &cookie), cross]).await, CROSS_SITE);
    let bearer = token(&json!({ "sub": "bob", "exp": seconds(60) }));
    let bearer = format!("Bearer {bearer}");
    let both = [
        ("authorization", bearer.as_str()),
        ("cookie", &cookie),
        cross,
    ];
    assert_eq!(user(&both).await, Ok("bob".to_owned()));
    // What only reads may come from anywhere.
    assert_eq!(asked("GET", &[("cookie", &cookie), cross]).await, alice());
    // Without a token nobody is known, whoever sent it.
    for nobody in [
        &[cross][..],
        &[("cookie", "other=1"), cross],
        &[("cookie", "session=e30="), cross],
        &[],
    ] {
        assert_eq!(user(nobody).await, NOBODY);
    }
}

#[tokio::test]
async fn what_the_browser_says_decides_and_an_older_ones_origin_is_compared_with_the_host() {
    let cookie = session();
    for (site, origin, expected) in [
        ("same-origin", "https://evil.example", alice()),
        ("none", "https://host", alice()),
        ("same-site", "https://host", CROSS_SITE),
        ("cross-site", "https://host", CROSS_SITE),
        ("cross-site", "https://app.example.com", alice()),
        ("", "https://host:3000", alice()),
        ("", "http://host:3000", alice()),
        ("", "https://host", CROSS_SITE),
        ("", "https://evil.example", CROSS_SITE),
        ("", "null", CROSS_SITE),
        ("", "https://app.example.com", alice()),
        ("", "", alice()),
    ] {
        let mut headers = vec![("cookie", cookie.as_str()), ("host", "host:3000")];
        let said = [("sec-fetch-site", site), ("origin", origin)];
        headers.extend(said.into_iter().filter(|(_, value)| !value.is_empty()));
        assert_eq!(user(&headers).await, expected, "{site} {origin}");
    }
}
