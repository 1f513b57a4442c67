//! The keys that count now. A file of public keys is read again when it has changed, so that keys rotate without a restart.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, RwLock},
    time::{Duration, Instant, SystemTime},
};

use db::setting::{Unusable, unusable};

use super::keys::{self, Key};
use crate::JwtOptions;

/// How often it is looked whether the file has changed, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Keyring {
    keys: RwLock<Arc<[Key]>>,
    file: Option<(PathBuf, Mutex<Looked>)>,
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
        let Some(path) = &config.jwt_public_key_file else {
            let keys = RwLock::new(keys::secrets(config)?.into());
            return Ok(Self { keys, file: None });
        };
        let (at, seen) = (Instant::now(), seen(path));
        let keys = keys::of_file(path).map_err(unusable("JWT_PUBLIC_KEY_FILE"))?;
        Ok(Self {
            keys: RwLock::new(keys.into()),
            file: Some((path.clone(), Mutex::new(Looked { at, seen }))),
        })
    }

    /// The keys, new where the file has changed. One that can't be used leaves those of before, and is told.
    pub(super) fn keys(&self) -> Arc<[Key]> {
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
        let (path, looked) = self.file.as_ref()?;
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
