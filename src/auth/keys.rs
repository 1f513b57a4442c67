//! The keys: of the algorithm that tokens are checked by, and the one that the command `token` signs with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use db::Unusable;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::config::JwtConfig;

/// What tokens are checked with, and how: a key is of one kind, which says the algorithm.
///
/// # Errors
/// When there is no key, or one that no token would pass.
pub(super) fn verification_key(config: &JwtConfig) -> Result<(DecodingKey, Algorithm), Unusable> {
    let Some(path) = &config.jwt_public_key_file else {
        return Ok((DecodingKey::from_secret(secret(config)?), Algorithm::HS256));
    };
    let unusable = |reason: &str| Unusable {
        variable: "JWT_PUBLIC_KEY_FILE",
        reason: reason.to_owned(),
    };
    let pem = std::fs::read_to_string(path).map_err(|error| unusable(&error.to_string()))?;
    if pem.contains("PRIVATE KEY") {
        return Err(unusable(
            "it holds a private key; it wants the public one, for example from: openssl pkey -pubout",
        ));
    }
    let pem = pem.as_bytes();
    let rsa = || DecodingKey::from_rsa_pem(pem);
    let ec = || DecodingKey::from_ec_pem(pem);
    let ed = || DecodingKey::from_ed_pem(pem);
    usable(rsa(), Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256)
        .or_else(|| usable(ec(), Algorithm::ES256, &ECDSA_P256_SHA256_FIXED))
        .or_else(|| usable(ed(), Algorithm::EdDSA, &ED25519))
        .ok_or_else(|| {
            unusable("it wants a PEM with a public key: RSA of 2048 to 8192 bits, P-256 or Ed25519")
        })
}

/// The library reads keys of other curves and sizes too, and refuses every token then.
fn usable(
    read: jsonwebtoken::errors::Result<DecodingKey>,
    algorithm: Algorithm,
    verifies: &'static dyn VerificationAlgorithm,
) -> Option<(DecodingKey, Algorithm)> {
    /// PKCS#1: the modulus, of 2048 bits or more, and little else.
    const SMALLEST_RSA_BYTES: usize = 256;
    let key = read.ok()?;
    let bytes = key.try_get_as_bytes().ok()?;
    if algorithm == Algorithm::RS256 && bytes.len() < SMALLEST_RSA_BYTES {
        return None;
    }
    ParsedPublicKey::new(verifies, bytes).ok()?;
    Some((key, algorithm))
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
        #[serde(skip_serializing_if = "Option::is_none")]
        iss: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        aud: Option<&'a str>,
        iat: u64,
        exp: u64,
    }
    let claims = Claims {
        sub: user,
        email,
        iss: config.jwt_issuer.as_deref(),
        aud: config.jwt_audience.as_deref(),
        iat: now,
        exp: now + ttl,
    };
    let key = EncodingKey::from_secret(secret(config)?);
    Ok(encode(&Header::default(), &claims, &key)?)
}
