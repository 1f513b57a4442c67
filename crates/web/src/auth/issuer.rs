//! The keys of an issuer, from its address: fetched when they are first needed, again when they are old or a token names one that is not
//! known, and kept while the issuer is away.

use std::{
    sync::{Arc, RwLock},
    time::Duration,
};

use anyhow::{anyhow, ensure};
use reqwest::{Client, Response, Url, redirect::Policy};
use tokio::{sync::Mutex, time::Instant};

use super::keys::{self, Key};

/// Keys older than that are fetched anew, while those of before still count.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);
/// Between two questions: whoever makes names of keys up makes us ask no more often.
const ASK_EVERY: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// Of a set of keys, in bytes.
const LARGEST_SET: usize = 1024 * 1024;

#[derive(Clone)]
pub(super) struct Issuer(Arc<Shared>);

struct Shared {
    url: Url,
    client: Client,
    keys: RwLock<Arc<[Key]>>,
    /// Whoever holds it asks; the others wait for the same answer.
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    last: Option<Instant>,
    answered: Option<Instant>,
    is_away: bool,
}

impl Shared {
    /// Its query may hold a key of ours.
    fn shown(&self) -> String {
        let mut url = self.url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.into()
    }
}

impl Issuer {
    pub(super) fn new(url: &str) -> anyhow::Result<Self> {
        let url = url.parse()?;
        let client = Client::builder()
            .redirect(Policy::none())
            .timeout(ANSWER_LIMIT)
            .build()?;
        let (keys, asked) = (RwLock::new(Arc::from([])), Mutex::default());
        Ok(Self(Arc::new(Shared {
            url,
            client,
            keys,
            asked,
        })))
    }

    /// The keys that are known, after a question where that may help a token that names this one. None where the issuer never answered.
    pub(super) async fn keys(&self, kid: Option<&str>) -> Arc<[Key]> {
        let known = self.known();
        let is_there = |keys: &[Key]| match kid {
            Some(kid) => keys
                .iter()
                .any(|key| key.id.as_deref().is_none_or(|id| id == kid)),
            None => !keys.is_empty(),
        };
        if !is_there(&known) {
            // A task: whoever hangs up would leave the question unanswered, and nobody asks again at once.
            let issuer = self.clone();
            drop(tokio::spawn(async move { issuer.refresh(ASK_EVERY).await }).await);
        } else if let Ok(asked) = self.0.asked.try_lock()
            && asked.answered.is_none_or(|at| at.elapsed() > FRESH_FOR)
            && asked.last.is_none_or(|at| at.elapsed() > ASK_EVERY)
        {
            let issuer = self.clone();
            tokio::spawn(async move { issuer.refresh(ASK_EVERY).await });
        }
        self.known()
    }

    fn known(&self) -> Arc<[Key]> {
        let keys = self
            .0
            .keys
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        Arc::clone(&keys)
    }

    async fn refresh(&self, unless_asked_within: Duration) {
        let mut asked = self.0.asked.lock().await;
        if asked
            .last
            .is_some_and(|at| at.elapsed() < unless_asked_within)
        {
            return;
        }
        asked.last = Some(Instant::now());
        match self.ask().await {
            Ok(keys) => {
                asked.answered = asked.last;
                if std::mem::take(&mut asked.is_away) {
                    tracing::info!(
                        url = self.0.shown(),
                        keys = keys.len(),
                        "the issuer of keys answers again"
                    );
                }
                if let Ok(mut known) = self.0.keys.write() {
                    *known = keys.into();
                }
            }
            Err(error) if !asked.is_away => {
                asked.is_away = true;
                let error = format!("{error:#}");
                tracing::warn!(
                    url = self.0.shown(),
                    error,
                    "the issuer gives no keys; those that are known still count"
                );
            }
            Err(error) => tracing::debug!(%error, "the issuer still gives no keys"),
        }
    }

    async fn ask(&self) -> anyhow::Result<Vec<Key>> {
        let mut answer = self
            .0
            .client
            .get(self.0.url.clone())
            .send()
            .await
            .and_then(Response::error_for_status)
            .map_err(reqwest::Error::without_url)?;
        ensure!(
            answer.status().is_success(),
            "it answers {}",
            answer.status()
        );
        let mut set = Vec::new();
        let part = async |answer: &mut Response| {
            let part = answer.chunk().await;
            part.map_err(reqwest::Error::without_url)
        };
        while let Some(part) = part(&mut answer).await? {
            set.extend(part);
            ensure!(set.len() <= LARGEST_SET, "its answer is larger than 1 MiB");
        }
        let set = String::from_utf8(set)?;
        keys::of_set(&set).map_err(|reason| anyhow!(reason))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, routing::get};
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use futures_util::FutureExt;
    use rcgen::{KeyPair, PKCS_ED25519};
    use serde_json::json;
    use testbed::eventually;
    use tokio::{net::TcpListener, task::JoinHandle};

    use super::*;

    /// An issuer whose set has a key of each of these names; how often it was asked.
    struct Told {
        url: String,
        names: Arc<RwLock<Vec<&'static str>>>,
        asked: Arc<AtomicUsize>,
        serving: JoinHandle<()>,
    }

    impl Told {
        async fn start(names: &[&'static str]) -> Self {
            let names = Arc::new(RwLock::new(names.to_vec()));
            let asked = Arc::<AtomicUsize>::default();
            let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
            let x = URL_SAFE_NO_PAD.encode(key.public_key_raw());
            let answer = {
                let (names, asked) = (Arc::clone(&names), Arc::clone(&asked));
                async move || {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let key = |name: &&str| json!({ "kty": "OKP", "crv": "Ed25519", "kid": name, "x": x });
                    let keys: Vec<_> = names.read().unwrap().iter().map(key).collect();
                    json!({ "keys": keys }).to_string()
                }
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/jwks", listener.local_addr().unwrap());
            let routes = Router::new().route("/jwks", get(answer));
            let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
            Self {
                url,
                names,
                asked,
                serving,
            }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    fn names(keys: &[Key]) -> Vec<&str> {
        keys.iter().map(|key| key.id.as_deref().unwrap()).collect()
    }

    #[tokio::test]
    async fn the_issuer_is_asked_when_a_key_is_not_known_and_not_again_at_once() {
        let told = Told::start(&["a"]).await;
        let issuer = Issuer::new(&told.url).unwrap();
        assert_eq!(told.asked(), 0);
        let all = (0..20).map(|_| issuer.keys(Some("a")));
        for keys in futures_util::future::join_all(all).await {
            assert_eq!(names(&keys), ["a"]);
        }
        assert_eq!(told.asked(), 1);
        told.names.write().unwrap().push("b");
        // Names that are made up make nobody ask.
        for _ in 0..20 {
            assert_eq!(names(&issuer.keys(Some("b")).await), ["a"]);
        }
        assert_eq!(told.asked(), 1);
        issuer.refresh(Duration::ZERO).await;
        assert_eq!(names(&issuer.keys(Some("b")).await), ["a", "b"]);
        assert_eq!(told.asked(), 2);
    }

    #[tokio::test]
    async fn an_issuer_that_is_away_or_has_nothing_takes_no_key_from_us() {
        let told = Told::start(&["a"]).await;
        let issuer = Issuer::new(&told.url).unwrap();
        assert_eq!(names(&issuer.keys(None).await), ["a"]);
        told.names.write().unwrap().clear();
        issuer.refresh(Duration::ZERO).await;
        assert_eq!(names(&issuer.keys(Some("a")).await), ["a"]);
        told.serving.abort();
        issuer.refresh(Duration::ZERO).await;
        assert_eq!(names(&issuer.keys(Some("a")).await), ["a"]);
        let nobody = Issuer::new("http://127.0.0.1:1/jwks").unwrap();
        assert!(nobody.keys(Some("a")).await.is_empty());
    }

    #[tokio::test]
    async fn keys_of_ten_minutes_are_asked_for_anew_and_a_withdrawn_one_counts_no_more() {
        let told = Told::start(&["a"]).await;
        let issuer = Issuer::new(&told.url).unwrap();
        assert_eq!(names(&issuer.keys(Some("a")).await), ["a"]);
        *told.names.write().unwrap() = vec!["b"];
        // As if they had been told so long ago.
        let mut asked = issuer.0.asked.lock().await;
        asked.answered = Instant::now().checked_sub(Duration::from_secs(10 * 60 + 1));
        asked.last = asked.answered;
        drop(asked);
        // Whoever finds them old does not wait for the answer.
        assert_eq!(names(&issuer.keys(Some("a")).await), ["a"]);
        eventually("the keys are asked for", async || {
            names(&issuer.known()) == ["b"]
        })
        .await;
        assert_eq!(names(&issuer.keys(Some("a")).await), ["b"]);
        assert_eq!(told.asked(), 2);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_question_to_the_others() {
        let told = Told::start(&["a"]).await;
        let issuer = Issuer::new(&told.url).unwrap();
        // It is polled once, and dropped.
        assert!(issuer.keys(Some("a")).now_or_never().is_none());
        eventually("the key is known", async || {
            names(&issuer.keys(Some("a")).await) == ["a"]
        })
        .await;
        assert_eq!(told.asked(), 1);
    }
}
