//! The keys: of the algorithm that tokens are checked by, and the one that the command `token` signs with.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use db::setting::Unusable;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::JwtOptions;

/// What tokens are checked with, and how: a key is of one kind, which says the algorithm.
///
/// # Errors
/// When there is no key, or one that no token would pass.
pub(super) fn verification_key(config: &JwtOptions) -> Result<(DecodingKey, Algorithm), Unusable> {
    let Some(path) = &config.jwt_public_key_file else {
        return Ok((DecodingKey::from_secret(secret(config)?), Algorithm::HS256));
    };
    let unusable = |reason: &str| Unusable {
        variable: "JWT_PUBLIC_KEY_FILE",
        reason: reason.to_owned(),
    };
    let pem = std::fs::read(path).map_err(|error| unusable(&error.to_string()))?;
    let pem = String::from_utf8(pem).map_err(|_| {
        unusable(
            "it is no text: a DER file becomes a PEM by: openssl pkey -pubin -inform der -in FILE",
        )
    })?;
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
    /// PKCS#1: a modulus of 2048 bits and an exponent of one byte.
    const SMALLEST_RSA_BYTES: usize = 268;
    let key = read.ok()?;
    let bytes = key.try_get_as_bytes().ok()?;
    if algorithm == Algorithm::RS256 && bytes.len() < SMALLEST_RSA_BYTES {
        return None;
    }
    ParsedPublicKey::new(verifies, bytes).ok()?;
    Some((key, algorithm))
}

fn secret(config: &JwtOptions) -> Result<&[u8], Unusable> {
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
/// When there is no secret, or a public key in its place, and the signing library's.
pub fn sign(
    config: &JwtOptions,
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
    if config.jwt_public_key_file.is_some() {
        let reason = "the service checks tokens with it, and would refuse one that JWT_KEY signs: the holder of the private key signs";
        return Err(Unusable {
            variable: "JWT_PUBLIC_KEY_FILE",
            reason: reason.to_owned(),
        }
        .into());
    }
    let key = EncodingKey::from_secret(secret(config)?);
    Ok(encode(&Header::default(), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use secrecy::SecretString;
    use serde_json::Value;

    use super::*;

    fn config(key: &str, public_key: Option<&Path>) -> JwtOptions {
        JwtOptions {
            jwt_key: SecretString::from(key),
            jwt_public_key_file: public_key.map(Path::to_owned),
            jwt_issuer: Some("https://id.example.com".to_owned()),
            jwt_audience: None,
        }
    }

    /// What a PEM file is taken for.
    fn algorithm_of(pem: &str) -> Result<Algorithm, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        verification_key(&config("", Some(file.path())))
            .map(|(_, algorithm)| algorithm)
            .map_err(|unusable| unusable.reason)
    }

    #[test]
    fn an_rsa_key_of_2048_bits_is_taken_whatever_its_exponent_and_a_smaller_one_is_not() {
        for taken in [
            include_str!("keys/rsa-2048-exponent-65537.pem"),
            include_str!("keys/rsa-2048-exponent-3.pem"),
        ] {
            assert_eq!(algorithm_of(taken), Ok(Algorithm::RS256));
        }
        let refused = algorithm_of(include_str!("keys/rsa-2032.pem")).unwrap_err();
        assert!(refused.contains("RSA of 2048 to 8192 bits"), "{refused}");
    }

    #[test]
    fn a_token_is_valid_from_now_for_as_long_as_was_asked_for() {
        let config = config("a key of thirty-two bytes or more", None);
        let token = sign(&config, "alice", Some("a@b.c"), 1_000, 60).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let expected = serde_json::json!({
            "sub": "alice", "email": "a@b.c", "iss": "https://id.example.com", "iat": 1_000, "exp": 1_060,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed_or_checked() {
        let config = config("", None);
        assert!(sign(&config, "alice", None, 0, 60).is_err());
        assert_eq!(
            verification_key(&config).map(drop).unwrap_err().variable,
            "JWT_KEY"
        );
    }
}
