//! Who we are at NATS. Files are read at each connection, so that one that is renewed counts without a restart.

use std::{
    borrow::Cow,
    fs,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use async_nats::{Auth, AuthError, ServerAddr};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use db::setting::{Unusable, unusable};
use nkeys::KeyPair;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::NatsOptions;

const CREDS_FILE: &str = "NATS_CREDS_FILE";
const NKEY_FILE: &str = "NATS_NKEY_FILE";

/// What we say who we are with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Nobody,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// A JWT and the seed of its key.
    Credentials(PathBuf),
    /// A seed.
    Nkey(PathBuf),
}

/// What is in a file.
struct Signer {
    jwt: Option<String>,
    key: KeyPair,
}

impl Identity {
    /// # Errors
    /// Where more than one is told, or its file can't be used.
    pub(super) fn of(nats: &NatsOptions) -> Result<Self, Unusable> {
        let mut identity = Self::Nobody;
        for url in nats.urls() {
            let of_url = Self::of_url(url)?;
            if identity != Self::Nobody && of_url != Self::Nobody && of_url != identity {
                return Err(unusable("NATS_URL")("its addresses name different users"));
            }
            if of_url != Self::Nobody {
                identity = of_url;
            }
        }
        let access = &nats.access;
        let credentials = access.nats_creds_file.clone().map(Self::Credentials);
        let nkey = access.nats_nkey_file.clone().map(Self::Nkey);
        for (variable, of_file) in [(CREDS_FILE, credentials), (NKEY_FILE, nkey)] {
            let Some(of_file) = of_file else { continue };
            if identity != Self::Nobody {
                let reason = "NATS_URL or another file says already who we are";
                return Err(unusable(variable)(reason));
            }
            of_file.read().map_err(unusable(variable))?;
            identity = of_file;
        }
        Ok(identity)
    }

    fn of_url(url: &str) -> Result<Self, Unusable> {
        let address: ServerAddr = url.parse().map_err(unusable("NATS_URL"))?;
        // In a URL they are percent-encoded.
        let decoded = |part: Option<&str>| {
            let decode = |part| percent_decode_str(part).decode_utf8().map(Cow::into_owned);
            part.map(decode).transpose().map_err(unusable("NATS_URL"))
        };
        let login = (decoded(address.username())?, decoded(address.password())?);
        Ok(match login {
            (Some(name), Some(password)) => Self::User { name, password },
            (Some(token), None) => Self::Token(token),
            (None, _) => Self::Nobody,
        })
    }

    /// What the server is told; it wants its `nonce` signed where there is a key.
    pub(super) async fn auth(self, nonce: Vec<u8>) -> Result<Auth, AuthError> {
        let mut auth = Auth::new();
        match self {
            Self::Nobody => {}
            Self::User { name, password } => {
                (auth.username, auth.password) = (Some(name), Some(password));
            }
            Self::Token(token) => auth.token = Some(token),
            Self::Credentials(_) | Self::Nkey(_) => {
                // A file system can be slow.
                let read = tokio::task::spawn_blocking(move || self.read());
                let signer = read.await.map_err(AuthError::new)?;
                let signer = signer.map_err(AuthError::new)?;
                auth.signature = Some(signer.key.sign(&nonce).map_err(AuthError::new)?);
                match signer.jwt {
                    Some(jwt) => auth.jwt = Some(jwt),
                    None => auth.nkey = Some(signer.key.public_key()),
                }
            }
        }
        Ok(auth)
    }

    fn read(&self) -> Result<Signer, String> {
        let (path, is_credentials) = match self {
            Self::Credentials(path) => (path, true),
            Self::Nkey(path) => (path, false),
            _ => return Err("there is no file".to_owned()),
        };
        let told = |why: &str| format!("{}: {why}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error.to_string()))?;
        let jwt = section(&text, "JWT").map(str::to_owned);
        if is_credentials && jwt.is_none() {
            return Err(told("it holds no user's JWT"));
        }
        let seed =
            section(&text, "SEED").or_else(|| text.lines().find(|line| line.starts_with('S')));
        let key = seed.and_then(|seed| KeyPair::from_seed(seed.trim()).ok());
        let key = key.ok_or_else(|| told("it holds no seed of an nkey"))?;
        let jwt = jwt.filter(|_| is_credentials);
        Ok(Signer { jwt, key })
    }

    /// Why a server refuses it.
    pub(super) fn weakness(&self) -> &'static str {
        match self {
            Self::Credentials(_) if self.has_expired() => {
                "the credentials in NATS_CREDS_FILE have expired"
            }
            Self::Nobody => "it wants to know who we are",
            Self::User { .. } | Self::Token(_) => "it refuses the user of NATS_URL",
            Self::Credentials(_) => "it refuses the credentials in NATS_CREDS_FILE",
            Self::Nkey(_) => "it refuses the nkey in NATS_NKEY_FILE",
        }
    }

    fn has_expired(&self) -> bool {
        let expires = || {
            let jwt = self.read().ok()?.jwt?;
            let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1)?).ok()?;
            let claims: Value = serde_json::from_slice(&claims).ok()?;
            claims.get("exp")?.as_u64().filter(|at| *at > 0)
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.is_ok_and(|now| expires().is_some_and(|at| at <= now.as_secs()))
    }
}

/// The line below the one that begins a part of a credentials file.
fn section<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("-----BEGIN") && line.contains(what))?;
    lines.find(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use secrecy::SecretString;

    use super::*;
    use crate::jetstream::nowhere;

    fn identity(url: &str, creds: Option<&Path>, nkey: Option<&Path>) -> Result<Identity, String> {
        let mut nats = nowhere("");
        nats.nats_url = SecretString::from(url);
        nats.access.nats_creds_file = creds.map(Path::to_owned);
        nats.access.nats_nkey_file = nkey.map(Path::to_owned);
        Identity::of(&nats).map_err(|unusable| unusable.to_string())
    }

    #[test]
    fn one_thing_only_says_who_we_are() {
        let folder = tempfile::tempdir().unwrap();
        let seed = folder.path().join("seed");
        fs::write(&seed, KeyPair::new_user().seed().unwrap()).unwrap();
        let nkey = Some(seed.as_path());
        assert_eq!(identity("nats://a", None, None), Ok(Identity::Nobody));
        let token = Ok(Identity::Token("t".to_owned()));
        assert_eq!(
            identity("nats://t@a,nats://b,nats://t@c", None, None),
            token
        );
        assert_eq!(
            identity("nats://a", None, nkey),
            Ok(Identity::Nkey(seed.clone()))
        );
        for (url, creds, nkey, told) in [
            (
                "nats://t@a,nats://u@b",
                None,
                None,
                "NATS_URL cannot be used: its addresses",
            ),
            (
                "nats://t@a",
                None,
                nkey,
                "NATS_NKEY_FILE cannot be used: NATS_URL or",
            ),
            ("nats://a", nkey, None, "NATS_CREDS_FILE cannot be used: "),
            (
                "nats://a",
                None,
                Some(Path::new("/etc/hostname")),
                "NATS_NKEY_FILE cannot be used: ",
            ),
        ] {
            let refused = identity(url, creds, nkey).unwrap_err();
            assert!(refused.starts_with(told), "{refused}");
        }
    }

    #[tokio::test]
    async fn a_seed_signs_what_the_server_asks() {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::new_user();
        let path = folder.path().join("seed");
        for text in [
            format!("{}\n", key.seed().unwrap()),
            format!(
                "-----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
                key.seed().unwrap()
            ),
        ] {
            fs::write(&path, text).unwrap();
            let auth = Identity::Nkey(path.clone()).auth(b"nonce".to_vec()).await;
            let auth = auth.unwrap();
            assert_eq!(auth.nkey, Some(key.public_key()));
            key.verify(b"nonce", &auth.signature.unwrap()).unwrap();
        }
        fs::remove_file(&path).unwrap();
        let gone = Identity::Nkey(path.clone()).auth(Vec::new()).await;
        let told = gone.err().unwrap().to_string();
        assert!(told.contains(path.to_str().unwrap()), "{told}");
    }
}
