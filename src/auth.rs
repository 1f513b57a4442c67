//! Who is calling: a JWT, from the `Authorization` header or from the session cookie, becomes a [`User`].

mod keys;

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{HeaderValue, header, request::Parts},
};
use axum_extra::extract::CookieJar;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use db::Unusable;
use jsonwebtoken::{DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use crate::{config::HttpConfig, cross_site, error::Error};

pub use keys::sign;

/// Our clock and the signer's may be this far apart.
pub const LEEWAY_SECONDS: u64 = 30;

/// cookie-session pads its base64, others don't.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The caller. As an extractor it answers 401 where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Opaque: whatever the signer of the token calls its users.
    pub id: String,
}

/// Checks tokens.
pub struct Authenticator {
    key: DecodingKey,
    validation: Validation,
    session_cookie: String,
    /// Whose pages may write with a cookie, besides our own.
    trusted_origins: Vec<HeaderValue>,
}

impl Authenticator {
    /// # Errors
    /// When there is no key, or none that can be used.
    pub fn new(config: &HttpConfig) -> Result<Self, Unusable> {
        // The only algorithm: a token does not get to choose how it is checked.
        let (key, algorithm) = keys::verification_key(&config.jwt)?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        let mut required = vec![];
        if config.jwt_require_exp {
            required.push("exp");
        }
        if let Some(issuer) = &config.jwt.jwt_issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.validate_aud = config.jwt.jwt_audience.is_some();
        if let Some(audience) = &config.jwt.jwt_audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Ok(Self {
            key,
            validation,
            session_cookie: config.session_cookie.clone(),
            trusted_origins: config.cors_origins.clone(),
        })
    }

    /// Who is calling.
    ///
    /// # Errors
    /// 401 where it is not known, 403 where a page of another site made a browser send its cookie.
    pub fn user(&self, parts: &Parts) -> Result<User, Error> {
        const NO_TOKEN: &str =
            "a token is needed, as Authorization: Bearer <jwt> or in the session cookie";
        const BAD_TOKEN: &str = "the token is not valid, or not any more";
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            /// Read only where there is no `sub`: others may hold anything in it.
            id: Option<Value>,
        }
        let token = match parts.headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().ok().and_then(bearer),
            None => {
                let token = self.cookie(parts);
                if token.is_some() && cross_site::is_cross_site_write(parts, &self.trusted_origins)
                {
                    return Err(Error::Forbidden(
                        "a page of another site may not write with the session cookie",
                    ));
                }
                token
            }
        };
        let token = token.ok_or(Error::Unauthorized(NO_TOKEN))?;
        let claims = decode::<Claims>(&token, &self.key, &self.validation)
            .map_err(|error| {
                tracing::debug!(%error, "a token is refused");
                Error::Unauthorized(BAD_TOKEN)
            })?
            .claims;
        let id = || Some(claims.id?.as_str()?.to_owned());
        match claims.sub.or_else(id) {
            Some(id) if !id.is_empty() => Ok(User { id }),
            _ => Err(Error::Unauthorized(
                "the token names no user: it has neither sub nor id",
            )),
        }
    }

    fn cookie(&self, parts: &Parts) -> Option<String> {
        #[derive(Deserialize)]
        struct Session {
            jwt: String,
        }
        let cookies = CookieJar::from_headers(&parts.headers);
        let session = BASE64
            .decode(cookies.get(&self.session_cookie)?.value())
            .ok()?;
        Some(serde_json::from_slice::<Session>(&session).ok()?.jwt)
    }
}

fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim().to_owned())
}

impl<S> FromRequestParts<S> for User
where
    S: Send + Sync,
    Arc<Authenticator>: FromRef<S>,
{
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        // The rate limit has asked already.
        match parts.extensions.get::<User>() {
            Some(user) => Ok(user.clone()),
            None => Arc::<Authenticator>::from_ref(state).user(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use axum::http::Request;
    use base64::engine::general_purpose::STANDARD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use secrecy::SecretString;
    use serde_json::json;

    use super::*;
    use crate::config::JwtConfig;

    const KEY: &str = "a key of thirty-two bytes or more";

    fn authenticator() -> Authenticator {
        let config = HttpConfig {
            listen_addr: ([127, 0, 0, 1], 0).into(),
            jwt: JwtConfig {
                jwt_key: SecretString::from(KEY),
                jwt_public_key_file: None,
                jwt_issuer: None,
                jwt_audience: None,
            },
            jwt_require_exp: true,
            session_cookie: "session".to_owned(),
            rate_limit: 0,
            concurrency_limit: 1,
            stop_delay: Duration::ZERO,
            cors_origins: Vec::new(),
        };
        Authenticator::new(&config).unwrap()
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

    fn user(headers: &[(&str, &str)]) -> Result<User, Error> {
        let mut request = Request::post("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        authenticator().user(&request.body(()).unwrap().into_parts().0)
    }

    fn user_of(claims: &Value) -> Result<User, Error> {
        user(&[("authorization", &format!("Bearer {}", token(claims)))])
    }

    #[test]
    fn clocks_may_differ_by_half_a_minute_and_no_more() {
        for (expired, begins) in [(-25, 25), (600, 25), (-25, 0)] {
            let claims = json!({ "sub": "alice", "exp": seconds(expired), "nbf": seconds(begins) });
            assert_eq!(user_of(&claims).unwrap().id, "alice", "{claims}");
        }
        for (expired, begins) in [(-35, -600), (600, 40)] {
            let claims = json!({ "sub": "alice", "exp": seconds(expired), "nbf": seconds(begins) });
            assert!(
                matches!(user_of(&claims), Err(Error::Unauthorized(_))),
                "{claims}"
            );
        }
    }

    #[test]
    fn a_user_has_a_name_that_is_not_empty() {
        let exp = seconds(60);
        for claims in [
            json!({ "sub": "", "exp": exp }),
            json!({ "id": "", "exp": exp }),
            json!({ "id": 7, "exp": exp }),
            json!({ "exp": exp }),
        ] {
            assert!(
                matches!(user_of(&claims), Err(Error::Unauthorized(_))),
                "{claims}"
            );
        }
    }

    #[test]
    fn the_scheme_is_bearer_however_it_is_spelt() {
        let token = token(&json!({ "sub": "alice", "exp": seconds(60) }));
        for fine in [format!("Bearer {token}"), format!("bearer  {token} ")] {
            assert_eq!(user(&[("authorization", &fine)]).unwrap().id, "alice");
        }
        for other in [format!("Basic {token}"), token.clone()] {
            assert!(user(&[("authorization", &other)]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused_only_where_a_cookie_would_prove_who_calls() {
        let session = json!({ "jwt": token(&json!({ "sub": "alice", "exp": seconds(60) })) });
        let cookie = format!("session={}", STANDARD.encode(session.to_string()));
        let cross = ("sec-fetch-site", "cross-site");
        assert_eq!(user(&[("cookie", &cookie)]).unwrap().id, "alice");
        assert!(matches!(
            user(&[("cookie", &cookie), cross]),
            Err(Error::Forbidden(_))
        ));
        // Without a token nobody is known, whoever sent it.
        for nobody in [
            &[cross][..],
            &[("cookie", "other=1"), cross],
            &[("cookie", "session=e30="), cross],
            &[],
        ] {
            assert!(matches!(user(nobody), Err(Error::Unauthorized(_))));
        }
    }
}
