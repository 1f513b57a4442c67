//! The keys that count now. Files of keys are read again when they have changed, so that keys rotate without a restart.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant, SystemTime},
};

use db::setting::{Unusable, has_secret, secret_in, unusable};
use secrecy::SecretString;

use super::{
    issuer::Issuer,
    keys::{self, Key},
};
use crate::{JwtOptions, options::jwt_key};

/// How often it is looked whether a file has changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Keyring {
    keys: RwLock<Arc<[Key]>>,
    source: Source,
}

enum Source {
    Setting,
    Files(Box<JwtOptions>, Mutex<Looked>),
    Issuer(Issuer),
}

struct Looked {
    at: Instant,
    seen: Vec<Option<Seen>>,
}

/// What tells one state of a file from another.
type Seen = (SystemTime, u64);

impl Keyring {
    /// # Errors
    /// When there is no key, or none that can be used.
    pub(super) fn new(config: &JwtOptions) -> Result<Self, Unusable> {
        let (keys, source) = match (&config.jwt_public_key_file, &config.jwks_url) {
            (Some(_), Some(_)) => {
                let reason = "JWT_PUBLIC_KEY_FILE is set too: one of them says which keys count";
                return Err(unusable("JWKS_URL")(reason));
            }
            (Some(path), None) => {
                let looked = looked(config);
                let keys = keys::of_file(path).map_err(unusable("JWT_PUBLIC_KEY_FILE"))?;
                (keys, Source::Files(Box::new(config.clone()), looked))
            }
            (None, Some(url)) => {
                let issuer = Issuer::new(url).map_err(unusable("JWKS_URL"))?;
                (Vec::new(), Source::Issuer(issuer))
            }
            (None, None) if files(config).next().is_some() => {
                let looked = looked(config);
                (
                    keys::secrets(config)?,
                    Source::Files(Box::new(config.clone()), looked),
                )
            }
            (None, None) => (keys::secrets(config)?, Source::Setting),
        };
        let keys = RwLock::new(keys.into());
        Ok(Self { keys, source })
    }

    /// The keys for a token that names this one, new where the file has changed. One that can't be used leaves those of before, and is told.
    pub(super) async fn keys(&self, kid: Option<&str>) -> Arc<[Key]> {
        if let Source::Issuer(issuer) = &self.source {
            return issuer.keys(kid).await;
        }
        if let Some(config) = self.changed() {
            let names = files(config).map(|(name, _)| name);
            let files = names.collect::<Vec<_>>().join(", ");
            match read(config) {
                Ok(keys) => {
                    let count = keys.len();
                    tracing::info!(
                        files,
                        keys = count,
                        "a file of keys has changed, and is read again"
                    );
                    if let Ok(mut current) = self.keys.write() {
                        *current = keys.into();
                    }
                }
                Err(reason) => tracing::error!(
                    files,
                    reason,
                    "a file of keys has changed, and cannot be used: the keys of before still count"
                ),
            }
        }
        let keys = self
            .keys
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&keys)
    }

    fn changed(&self) -> Option<&JwtOptions> {
        let Source::Files(config, looked) = &self.source else {
            return None;
        };
        // Whoever does not get it at once leaves it to who has it.
        let mut looked = looked.try_lock().ok()?;
        if looked.at.elapsed() < LOOK_EVERY {
            return None;
        }
        looked.at = Instant::now();
        let seen = seen(config);
        let has_changed = seen != looked.seen;
        looked.seen = seen;
        has_changed.then_some(config)
    }
}

/// Those that count, by the variables that name them.
fn files(config: &JwtOptions) -> impl Iterator<Item = (&'static str, &Path)> {
    let public = [("JWT_PUBLIC_KEY_FILE", &config.jwt_public_key_file)];
    let secret = [
        ("JWT_KEY_FILE", &config.jwt_key_file),
        ("JWT_KEY_PREVIOUS_FILE", &config.jwt_key_previous_file),
    ];
    let secret = secret
        .into_iter()
        .filter(|_| config.jwt_public_key_file.is_none());
    let all = public.into_iter().chain(secret);
    all.filter_map(|(name, path)| Some((name, path.as_deref()?)))
}

fn read(config: &JwtOptions) -> Result<Vec<Key>, String> {
    if let Some(path) = &config.jwt_public_key_file {
        return keys::of_file(path);
    }
    let secret = |path: &Option<PathBuf>, given: &SecretString| match path {
        Some(path) => jwt_key(&secret_in(path)?),
        None => Ok(given.clone()),
    };
    // It is taken away when the tokens of before have expired.
    let previous_file = &config.jwt_key_previous_file;
    let has_previous = previous_file.as_deref().is_none_or(has_secret);
    let jwt_key_previous = if has_previous {
        secret(previous_file, &config.jwt_key_previous)?
    } else {
        SecretString::default()
    };
    let config = JwtOptions {
        jwt_key: secret(&config.jwt_key_file, &config.jwt_key)?,
        jwt_key_previous,
        ..config.clone()
    };
    keys::secrets(&config).map_err(|unusable| unusable.reason)
}

fn looked(config: &JwtOptions) -> Mutex<Looked> {
    Mutex::new(Looked {
        at: Instant::now(),
        seen: seen(config),
    })
}

fn seen(config: &JwtOptions) -> Vec<Option<Seen>> {
    let seen = |path: &Path| {
        let file = std::fs::metadata(path).ok()?;
        Some((file.modified().ok()?, file.len()))
    };
    files(config).map(|(_, path)| seen(path)).collect()
}
