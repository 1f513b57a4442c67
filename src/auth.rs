//! Who is calling: a JWT, from the `Authorization` header or from the session cookie, becomes a [`User`].

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts},
    http::{header, request::Parts},
};
use axum_extra::extract::CookieJar;
use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::{
    config::{HttpConfig, JwtConfig},
    error::Error,
};

/// Tolerated difference between our clock and the signer's.
const LEEWAY_SECONDS: u64 = 30;

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
}

impl Authenticator {
    pub fn new(config: &HttpConfig) -> Self {
        // The only algorithm: a token does not get to choose how it is checked.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        if !config.jwt_require_exp {
            validation.required_spec_claims.clear();
        }
        Self {
            key: DecodingKey::from_secret(config.jwt.jwt_key.expose_secret().as_bytes()),
            validation,
            session_cookie: config.session_cookie.clone(),
        }
    }

    fn user(&self, parts: &Parts) -> Result<User, Error> {
        const NO_TOKEN: &str =
            "a token is needed, as Authorization: Bearer <jwt> or in the session cookie";
        const BAD_TOKEN: &str = "the token is not valid, or not any more";
        #[derive(Deserialize)]
        struct Claims {
            sub: Option<String>,
            id: Option<String>,
        }
        let token = match parts.headers.get(header::AUTHORIZATION) {
            Some(value) => value.to_str().ok().and_then(bearer),
            None => self.cookie(parts),
        };
        let token = token.ok_or(Error::Unauthorized(NO_TOKEN))?;
        let claims = decode::<Claims>(&token, &self.key, &self.validation)
            .map_err(|_| Error::Unauthorized(BAD_TOKEN))?
            .claims;
        match claims.sub.or(claims.id) {
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
        Arc::<Authenticator>::from_ref(state).user(parts)
    }
}

/// Signs a token for `user` that is valid from `now` for `ttl`, all in seconds (of the Unix epoch).
///
/// # Errors
/// The signing library's.
pub fn sign(
    config: &JwtConfig,
    user: &str,
    email: Option<&str>,
    now: u64,
    ttl: u64,
) -> jsonwebtoken::errors::Result<String> {
    #[derive(Serialize)]
    struct Claims<'a> {
        sub: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        email: Option<&'a str>,
        iat: u64,
        exp: u64,
    }
    let claims = Claims {
        sub: user,
        email,
        iat: now,
        exp: now + ttl,
    };
    encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(config.jwt_key.expose_secret().as_bytes()),
    )
}
