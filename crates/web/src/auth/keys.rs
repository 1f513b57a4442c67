//! The keys that tokens are checked with, each of one kind, which says the algorithm; and the one that the command `token` signs with.

use std::path::Path;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use db::setting::Unusable;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, encode,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::JwtOptions;

/// A key, and how tokens are checked with it.
#[derive(Clone)]
pub(super) struct Key {
    /// Its name in a set of keys, by which tokens choose it. A key of a PEM file has none.
    pub(super) id: Option<String>,
    pub(super) key: DecodingKey,
    pub(super) algorithm: Algorithm,
}

type Keys = Result<Vec<Key>, String>;

/// The secrets that tokens may be signed with: the new one and, while tokens of the old are about, that one too.
///
/// # Errors
/// When there is none.
pub(super) fn secrets(config: &JwtOptions) -> Result<Vec<Key>, Unusable> {
    let previous = config.jwt_key_previous.expose_secret();
    let previous = Some(previous.as_bytes()).filter(|it| !it.is_empty());
    let all = [secret(config)?].into_iter().chain(previous);
    let key = |secret| Key {
        id: None,
        key: DecodingKey::from_secret(secret),
        algorithm: Algorithm::HS256,
    };
    Ok(all.map(key).collect())
}

/// The public keys of a file: one or more PEM, or a set of keys (JWKS, RFC 7517).
///
/// # Errors
/// When there is none in it that a token would pass.
pub(super) fn of_file(path: &Path) -> Keys {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let text = String::from_utf8(text).map_err(
        |_| "it is no text: a DER file becomes a PEM by: openssl pkey -pubin -inform der -in FILE",
    )?;
    if text.contains("PRIVATE KEY") {
        return Err("it holds a private key; it wants the public one, for example from: openssl pkey -pubout".to_owned());
    }
    if text.trim_start().starts_with('{') {
        return of_set(&text);
    }
    let blocks = text.match_indices("-----BEGIN ");
    let keys = blocks
        .map(|(at, _)| of_pem(&text.as_bytes()[at..]))
        .collect::<Option<Vec<_>>>();
    keys.filter(|keys| !keys.is_empty()).ok_or_else(|| {
        "it wants PEM with public keys, or a JWKS: RSA of 2048 to 8192 bits, P-256 or Ed25519"
            .to_owned()
    })
}

fn of_pem(pem: &[u8]) -> Option<Key> {
    let rsa = || DecodingKey::from_rsa_pem(pem);
    let ec = || DecodingKey::from_ec_pem(pem);
    let ed = || DecodingKey::from_ed_pem(pem);
    usable(rsa(), Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256)
        .or_else(|| usable(ec(), Algorithm::ES256, &ECDSA_P256_SHA256_FIXED))
        .or_else(|| usable(ed(), Algorithm::EdDSA, &ED25519))
}

/// The library reads keys of other curves and sizes too, and refuses every token then.
fn usable(
    read: jsonwebtoken::errors::Result<DecodingKey>,
    algorithm: Algorithm,
    verifies: &'static dyn VerificationAlgorithm,
) -> Option<Key> {
    /// PKCS#1: a modulus of 2048 bits and an exponent of one byte.
    const SMALLEST_RSA_BYTES: usize = 268;
    let key = read.ok()?;
    let bytes = key.try_get_as_bytes().ok()?;
    if algorithm == Algorithm::RS256 && bytes.len() < SMALLEST_RSA_BYTES {
        return None;
    }
    ParsedPublicKey::new(verifies, bytes).ok()?;
    Some(Key {
        id: None,
        key,
        algorithm,
    })
}

/// A set holds keys of other uses and kinds too: those are passed over.
pub(super) fn of_set(text: &str) -> Keys {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Box<RawValue>>,
    }
    #[derive(Deserialize)]
    struct Private {
        d: Option<Box<RawValue>>,
    }
    let set: Set = serde_json::from_str(text).map_err(|_| "it wants a JWKS: {\"keys\": […]}")?;
    let is_private = |key: &RawValue| {
        let key: Option<Private> = serde_json::from_str(key.get()).ok();
        key.is_some_and(|key| key.d.is_some())
    };
    if set.keys.iter().any(|key| is_private(key)) {
        return Err("it holds a private key; it wants the public ones".to_owned());
    }
    let read = |key: &RawValue| of_jwk(&serde_json::from_str(key.get()).ok()?);
    let keys: Vec<Key> = set.keys.iter().filter_map(|key| read(key)).collect();
    if keys.is_empty() {
        return Err("none of its keys is one for signatures: RSA of 2048 bits or more (RS256), P-256 (ES256) or Ed25519 (EdDSA)".to_owned());
    }
    Ok(keys)
}

/// A secret is never taken from a set: that is for all to read.
fn of_jwk(jwk: &Jwk) -> Option<Key> {
    /// In base64url, without the zeros that it may begin with.
    const SMALLEST_MODULUS: usize = 342;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let modulus = rsa.n.trim_start_matches('A');
            (modulus.len() >= SMALLEST_MODULUS).then_some(Algorithm::RS256)?
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(ed) if ed.curve == EllipticCurve::Ed25519 => {
            Algorithm::EdDSA
        }
        _ => return None,
    };
    let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
    let named = jwk.common.key_algorithm.map(|it| it.to_string());
    let fits = named.is_none_or(|named| named == format!("{algorithm:?}"));
    (signs && fits).then_some(Key {
        id: jwk.common.key_id.clone(),
        key: DecodingKey::from_jwk(jwk).ok()?,
        algorithm,
    })
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
    let public = [
        ("JWT_PUBLIC_KEY_FILE", config.jwt_public_key_file.is_some()),
        ("JWKS_URL", config.jwks_url.is_some()),
    ];
    if let Some((variable, _)) = public.into_iter().find(|(_, is_set)| *is_set) {
        let reason = "the service checks tokens with it, and would refuse one that JWT_KEY signs: the holder of the private key signs";
        return Err(Unusable {
            variable,
            reason: reason.to_owned(),
        }
        .into());
    }
    let key = EncodingKey::from_secret(secret(config)?);
    Ok(encode(&Header::default(), &claims, &key)?)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use secrecy::SecretString;
    use serde_json::{Value, json};

    use super::*;

    fn config(key: &str, public_key: Option<&Path>) -> JwtOptions {
        JwtOptions {
            jwt_key: SecretString::from(key),
            jwt_key_previous: SecretString::default(),
            jwt_key_file: None,
            jwt_key_previous_file: None,
            jwks_url: None,
            jwt_public_key_file: public_key.map(Path::to_owned),
            jwt_issuer: Some("https://id.example.com".to_owned()),
            jwt_audience: None,
        }
    }

    /// What a PEM file is taken for.
    fn algorithm_of(pem: &str) -> Result<Algorithm, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        of_file(file.path()).map(|keys| keys[0].algorithm)
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

    /// The pair is that of RFC 8037, appendix A.
    #[test]
    fn a_set_in_which_any_key_is_private_is_refused_whole() {
        let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
        let mut private = public.clone();
        private["d"] = json!("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A");
        let read = |keys: &[&Value]| of_set(&json!({ "keys": keys }).to_string());
        assert_eq!(read(&[&public, &public]).map(|keys| keys.len()), Ok(2));
        for keys in [&[&private][..], &[&public, &private], &[&private, &public]] {
            let refused = read(keys).map(drop).unwrap_err();
            assert!(refused.contains("it holds a private key"), "{refused}");
        }
    }

    #[test]
    fn a_token_is_valid_from_now_for_as_long_as_was_asked_for() {
        let config = config("a key of thirty-two bytes or more", None);
        let token = sign(&config, "alice", Some("a@b.c"), 1_000, 60).unwrap();
        let claims = token.split('.').nth(1).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        let expected = json!({
            "sub": "alice", "email": "a@b.c", "iss": "https://id.example.com", "iat": 1_000, "exp": 1_060,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn without_a_secret_nothing_is_signed_or_checked() {
        let config = config("", None);
        assert!(sign(&config, "alice", None, 0, 60).is_err());
        assert_eq!(secrets(&config).map(drop).unwrap_err().variable, "JWT_KEY");
    }
}
