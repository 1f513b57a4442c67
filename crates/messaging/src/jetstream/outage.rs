//! Why there is no connection to NATS: each server's address and cause, told once for an outage, and again where the cause is
//! another one later. The client's own event says no more than "IO error".

use std::time::{Duration, Instant};

use async_nats::Server;
use db::{TlsSettings, tls_cause};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::net::lookup_host;

use super::identity::Identity;

/// A cause that changes is not told more often.
const TELL_AGAIN: Duration = Duration::from_secs(5);
const LOOK_UP_LIMIT: Duration = Duration::from_secs(2);

/// The outage, while there is one.
pub(super) struct Outage {
    identity: Identity,
    /// Whether we begin with TLS.
    tls_first: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Rounds of attempts, each of them to every server.
    rounds: u32,
    causes: Vec<String>,
    told: Option<(Instant, Vec<String>)>,
}

impl Outage {
    pub(super) fn new(identity: Identity, tls_first: bool) -> Self {
        Self {
            identity,
            tls_first,
            state: Mutex::default(),
        }
    }

    pub(super) fn ended(&self) {
        *self.state.lock() = State::default();
    }

    /// Why there is no connection, where that is known.
    pub(super) fn why(&self) -> Option<String> {
        let causes = self.state.lock().causes.join("; ");
        (!causes.is_empty()).then_some(causes)
    }

    /// A round of attempts begins: the `servers` tell how the one before ended.
    pub(super) async fn round_begins(&self, servers: Vec<Server>) {
        let rounds = {
            let mut state = self.state.lock();
            state.rounds += 1;
            state.rounds
        };
        if rounds == 1 {
            return;
        }
        // At once: the round waits for this.
        let causes = servers.iter().map(async |server| {
            let cause = match &server.last_error {
                Some(error) => Some(self.cause(error)),
                // The client notes no error of a name.
                None => not_found(server).await,
            };
            cause.map(|cause| format!("{server}: {cause}"))
        });
        let causes: Vec<_> = join_all(causes).await.into_iter().flatten().collect();
        if !causes.is_empty() {
            self.tell(causes, Instant::now());
        }
    }

    fn tell(&self, causes: Vec<String>, now: Instant) {
        let mut state = self.state.lock();
        state.causes.clone_from(&causes);
        let is_new = state
            .told
            .as_ref()
            .is_none_or(|(at, told)| *told != causes && now.duration_since(*at) >= TELL_AGAIN);
        if is_new {
            let servers = causes.join("; ");
            tracing::warn!(servers, "cannot connect to NATS; events wait");
            state.told = Some((now, causes));
        }
    }

    /// What the client's error means, and what mends it.
    fn cause(&self, error: &str) -> String {
        const SETTINGS: TlsSettings = TlsSettings {
            authorities: "NATS_TLS_CA_FILE",
            certificate: "NATS_TLS_CERT_FILE",
        };
        let error = error.trim_start_matches("IO error: ");
        if let Some(cause) = tls_cause(error, SETTINGS) {
            return cause;
        }
        let [silent, no_tls] = if self.tls_first {
            [
                "it does not answer",
                "it does not begin with TLS, see NATS_TLS_FIRST",
            ]
        } else {
            [
                "it does not greet; one that begins with TLS wants NATS_TLS_FIRST=true",
                "it does not speak TLS",
            ]
        };
        let has = |part| error.contains(part);
        let meaning = match error {
            _ if has("InvalidContentType") => no_tls,
            _ if has("timed out") || has("got nothing") => silent,
            // Only then the files are read that say who we are.
            _ if has("authorization violation") || has("User Authentication") => {
                self.identity.weakness()
            }
            _ if has("AuthError") => "who we are cannot be told",
            _ => return error.to_owned(),
        };
        format!("{meaning} ({error})")
    }
}

async fn not_found(server: &Server) -> Option<String> {
    let name = (server.addr.host(), server.addr.port());
    let looked = tokio::time::timeout(LOOK_UP_LIMIT, lookup_host(name)).await;
    match looked {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("its name is not found ({error})")),
        Err(_) => Some("its name is not found: the name server does not answer".to_owned()),
    }
}
