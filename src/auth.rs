//! Who is calling: a JWT, from the `Authorization` header or from the session cookie, becomes a [`User`].

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
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::{
    config::{HttpConfig, JwtConfig, Unusable},
    cross_site,
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
    /// Whose pages may write with a cookie, besides our own.
    trusted_origins: Vec<HeaderValue>,
}

impl Authenticator {
    /// # Errors
    /// When there is no key, or none that can be used.
    pub fn new(config: &HttpConfig) -> Result<Self, Unusable> {
        // The only algorithm: a token does not get to choose how it is checked.
        let (key, algorithm) = verification_key(&config.jwt)?;
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = false;
        if !config.jwt_require_exp {
            validation.required_spec_claims.clear();
        }
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
            id: Option<String>,
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
        // The rate limit has asked already.
        match parts.extensions.get::<User>() {
            Some(user) => Ok(user.clone()),
            None => Arc::<Authenticator>::from_ref(state).user(parts),
        }
    }
}

/// What tokens are checked with, and how.
fn verification_key(config: &JwtConfig) -> Result<(DecodingKey, Algorithm), Unusable> {
    let Some(path) = &config.jwt_public_key_file else {
        return Ok((DecodingKey::from_secret(secret(config)?), Algorithm::HS256));
    };
    let unusable = |reason: String| Unusable {
        variable: "JWT_PUBLIC_KEY_FILE",
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    // A key is of one kind: whichever reads it says which algorithm it is for.
    let rsa = DecodingKey::from_rsa_pem(&pem).map(|key| (key, Algorithm::RS256));
    let ec = || DecodingKey::from_ec_pem(&pem).map(|key| (key, Algorithm::ES256));
    let ed = || DecodingKey::from_ed_pem(&pem).map(|key| (key, Algorithm::EdDSA));
    rsa.or_else(|_| ec())
        .or_else(|_| ed())
        .map_err(|_| unusable("it wants a PEM with a public key: RSA, P-256 or Ed25519".to_owned()))
}

fn secret(config: &JwtConfig) -> Result<&[u8], Unusable> {
    match config.jwt_key.expose_secret() {
        "" => Err(Unusable {
            variable: "JWT_KEY",
            reason: "it is not set; it wants a secret of 32 bytes or more, for example from: openssl rand -hex 32"
                .to_owned(),
        }),
        key => Ok(key.as_bytes()),
    }
}

/// Signs a token for `user` that is valid from `now` for `ttl`, all in seconds (of the Unix epoch).
///
/// # Errors
/// When there is no secret, and the signing library's.
pub fn sign(
    config: &JwtConfig,
    user: &str,
    email: Option<&str>,
    now: u64,
    ttl: u64,
) -> anyhow::Result<String> {
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
    let key = EncodingKey::from_secret(secret(config)?);
    Ok(encode(&Header::default(), &claims, &key)?)
}
