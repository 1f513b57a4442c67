//! What a token says, where it is one that we take: a signature that fits, times and claims as they are asked for, and a user.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use db::setting::Unusable;
use jsonwebtoken::{
    Algorithm, Validation, decode, decode_header,
    errors::{Error, ErrorKind},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Nobody::{self, InvalidToken},
    User,
    keyring::Keyring,
    keys::Key,
};
use crate::HttpOptions;

/// Our clock and the signer's may be this far apart.
pub const LEEWAY_SECONDS: u64 = 30;
/// In bytes; a longer one is not looked at.
pub const LONGEST_TOKEN: usize = 8 * 1024;
/// In bytes: it is stored with all that is the user's.
pub const LONGEST_USER_ID: usize = 255;

/// Why a token is not taken. `WWW-Authenticate` says it in a quoted string: no quotes, no backslash.
pub(super) type Wrong = &'static str;

const WRONG_SIGNATURE: Wrong = "the signature of the token does not fit";
const UNREADABLE: Wrong = "the token is no JWT that can be read, or a claim of it has a wrong type";

/// Checks tokens.
pub(super) struct Tokens {
    keyring: Keyring,
    validation: Validation,
    wants_issuer: bool,
}

/// Each as it is written, since a claim of another type than it should have is told as that.
#[derive(Deserialize)]
struct Claims {
    sub: Option<Box<RawValue>>,
    /// Read only where there is no `sub`: others may hold anything in it.
    id: Option<Box<RawValue>>,
    iss: Option<Box<RawValue>>,
}

impl Tokens {
    pub(super) fn new(options: &HttpOptions) -> Result<Self, Unusable> {
        // Of the algorithm, the key decides.
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        let mut required = vec![];
        if options.jwt_require_exp {
            required.push("exp");
        }
        if let Some(issuer) = &options.jwt.jwt_issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.validate_aud = options.jwt.jwt_audience.is_some();
        if let Some(audience) = &options.jwt.jwt_audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Ok(Self {
            keyring: Keyring::new(&options.jwt)?,
            validation,
            wants_issuer: options.jwt.jwt_issuer.is_some(),
        })
    }

    /// Who has signed in with this token.
    pub(super) async fn user(&self, token: &str) -> Result<User, Nobody> {
        if token.len() > LONGEST_TOKEN {
            return Err(InvalidToken("the token is longer than 8 KB"));
        }
        if has_critical_extensions(token).map_err(InvalidToken)? {
            return Err(InvalidToken(
                "the token has extensions (crit), of which none is understood",
            ));
        }
        let claims = self.claims(token).await?;
        self.named(claims).map_err(InvalidToken)
    }

    /// Whom the claims name.
    fn named(&self, Claims { sub, id, iss }: Claims) -> Result<User, Wrong> {
        // The library takes a list of issuers as well; RFC 7519 §4.1.1 has one string.
        if self.wants_issuer && iss.is_some_and(|iss| string(&iss).is_none()) {
            return Err("the iss of the token has to be a string");
        }
        let user = match (sub, id) {
            (Some(sub), _) => string(&sub).ok_or("the sub of the token has to be a string")?,
            // A number has several spellings (7, 7.0, 7e0), and above 2^53 JavaScript makes one of two: no user's name.
            (None, Some(id)) => string(&id).ok_or("the id of the token has to be a string")?,
            (None, None) => return Err("the token names no user: it has neither sub nor id"),
        };
        match user.len() {
            0 => Err("the token names no user: its sub or id is empty"),
            1..=LONGEST_USER_ID => Ok(User { id: user }),
            _ => Err("the user of the token has an id of more than 255 bytes"),
        }
    }
}

impl Tokens {
    /// What is signed with a key that fits. The key decides the algorithm: a token does not get to choose how it is checked.
    async fn claims(&self, token: &str) -> Result<Claims, Nobody> {
        let header = decode_header(token).map_err(|error| InvalidToken(wrong(&error)))?;
        let keys = self.keyring.keys(header.kid.as_deref()).await;
        if keys.is_empty() {
            return Err(Nobody::NoKeys);
        }
        let of_algorithm: Vec<&Key> = keys
            .iter()
            .filter(|it| it.algorithm == header.alg)
            .collect();
        if of_algorithm.is_empty() {
            return Err(InvalidToken(wrong(&ErrorKind::InvalidAlgorithm.into())));
        }
        let is_named = |key: &&Key| match (&key.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            // A key without a name, or a token that names none.
            _ => true,
        };
        let mut refused = "the token names a key (kid) that is not known";
        for key in of_algorithm.into_iter().filter(is_named) {
            match decode::<Claims>(token, &key.key, &self.validation_by(key.algorithm)) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => refused = wrong(&error),
            }
            if refused != WRONG_SIGNATURE {
                break;
            }
        }
        Err(InvalidToken(refused))
    }

    fn validation_by(&self, algorithm: Algorithm) -> Validation {
        Validation {
            algorithms: vec![algorithm],
            ..self.validation.clone()
        }
    }
}

/// `None` where it is no string. (A [`serde_json::Value`] would take what pretends to be raw text for something else.)
fn string(json: &RawValue) -> Option<String> {
    serde_json::from_str(json.get()).ok()
}

/// Whoever does not understand an extension that is critical refuses the token (RFC 7515 §4.1.11), and we know none.
fn has_critical_extensions(token: &str) -> Result<bool, Wrong> {
    let (header, _) = token.split_once('.').ok_or(UNREADABLE)?;
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| UNREADABLE)?;
    let header: BTreeMap<String, IgnoredAny> =
        serde_json::from_slice(&header).map_err(|_| UNREADABLE)?;
    Ok(header.contains_key("crit"))
}

fn wrong(error: &Error) -> Wrong {
    tracing::debug!(%error, "a token is refused");
    match error.kind() {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidSignature => WRONG_SIGNATURE,
        ErrorKind::InvalidAlgorithm => "the token is not signed in the way that is asked for",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "exp" => "the token has no exp that is a number",
            "iss" => "the token has no iss that is a string",
            _ => "the token has no aud that is a string or a list",
        },
        ErrorKind::InvalidClaimFormat(_) => "the exp or nbf of the token is no number",
        _ => UNREADABLE,
    }
}
