//! The keys that count now. A file of public keys is read again when it has changed, so that keys rotate without a restart.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant, SystemTime},
};

use db::setting::{Unusable, unusable};

use super::{
    issuer::Issuer,
    keys::{self, Key},
};
use crate::JwtOptions;

/// How often it is looked whether the file has changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Keyring {
    keys: RwLock<Arc<[Key]>>,
    source: Source,
}

enum Source {
    Setting,
    File(PathBuf, Mutex<Looked>),
    Issuer(Issuer),
}

struct Looked {
    at: Instant,
    seen: Option<Seen>,
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
                let looked = Looked {
                    at: Instant::now(),
                    seen: seen(path),
                };
                let keys = keys::of_file(path).map_err(unusable("JWT_PUBLIC_KEY_FILE"))?;
                (keys, Source::File(path.clone(), Mutex::new(looked)))
            }
            (None, Some(url)) => {
                let issuer = Issuer::new(url.clone()).map_err(unusable("JWKS_URL"))?;
                (Vec::new(), Source::Issuer(issuer))
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
        if let Some(path) = self.changed() {
            match keys::of_file(path) {
                Ok(keys) => {
                    tracing::info!(
                        keys = keys.len(),
                        "JWT_PUBLIC_KEY_FILE has changed, and is read again"
                    );
                    if let Ok(mut current) = self.keys.write() {
                        *current = keys.into();
                    }
                }
                Err(reason) => tracing::error!(
                    reason,
                    "JWT_PUBLIC_KEY_FILE has changed, and cannot be used: the keys of before still count"
                ),
            }
        }
        let keys = self
            .keys
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&keys)
    }

    fn changed(&self) -> Option<&PathBuf> {
        let Source::File(path, looked) = &self.source else {
            return None;
        };
        // Whoever does not get it at once leaves it to who has it.
        let mut looked = looked.try_lock().ok()?;
        if looked.at.elapsed() < LOOK_EVERY {
            return None;
        }
        looked.at = Instant::now();
        let seen = seen(path);
        let has_changed = seen != looked.seen;
        looked.seen = seen;
        has_changed.then_some(path)
    }
}

fn seen(path: &PathBuf) -> Option<Seen> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.modified().ok()?, file.len()))
}
