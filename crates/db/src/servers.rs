//! What each server of the replica set said last, so that a connection that fails is told with its address and its cause: the
//! driver's own errors say "No available servers", or an I/O error without an address.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use bson::Document;
use mongodb::{
    error::{Error as MongoError, ErrorKind},
    event::{EventHandler, sdam::SdamEvent},
    options::{ClientOptions, Tls},
};
use parking_lot::Mutex;

use crate::{TlsSettings, cause, tls_cause};

/// The servers that the driver looks after; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    /// The replica set that the connection string names.
    set: Option<Arc<str>>,
    has_tls: bool,
    /// By address.
    heard: Arc<Mutex<BTreeMap<String, Heard>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Primary,
    Secondary,
    /// It can't be used, and why.
    Fault(String),
    /// It is of another replica set or of none; the driver asks it no more.
    Foreign(String),
}

impl Servers {
    pub(crate) fn of(options: &ClientOptions) -> Self {
        Self {
            set: options.repl_set_name.as_deref().map(Into::into),
            has_tls: matches!(options.tls, Some(Tls::Enabled(_))),
            heard: Arc::default(),
        }
    }

    /// Listens to what the driver hears of them.
    pub(crate) fn listener(&self) -> EventHandler<SdamEvent> {
        let servers = self.clone();
        EventHandler::callback(move |event| match event {
            SdamEvent::ServerHeartbeatSucceeded(event) => {
                let heard = servers.hello(&event.reply);
                servers.note(event.server_address.to_string(), heard);
            }
            // It ends with us.
            SdamEvent::ServerHeartbeatFailed(event)
                if matches!(*event.failure.kind, ErrorKind::Internal { .. }) => {}
            SdamEvent::ServerHeartbeatFailed(event) => {
                let fault = Heard::Fault(servers.cause(&event.failure));
                servers.note(event.server_address.to_string(), fault);
            }
            SdamEvent::TopologyDescriptionChanged(event) => {
                let members = event.new_description.servers();
                let members: BTreeSet<String> = members.keys().map(ToString::to_string).collect();
                // Others have left the set. A client that ends has none: another may have taken its place.
                if !members.is_empty() {
                    servers.heard.lock().retain(|address, heard| {
                        members.contains(address) || matches!(heard, Heard::Foreign(_))
                    });
                }
            }
            _ => {}
        })
    }

    fn hello(&self, reply: &Document) -> Heard {
        let foreign = match (reply.get_str("setName"), &self.set) {
            (Err(_), _) => "it is of no replica set".to_owned(),
            (Ok(name), Some(set)) if *name != **set => {
                format!("it is of the replica set {name}, and MONGO_URI says replicaSet={set}")
            }
            _ if reply.get_bool("isWritablePrimary").unwrap_or_default() => return Heard::Primary,
            _ => return Heard::Secondary,
        };
        Heard::Foreign(foreign)
    }

    fn note(&self, address: String, heard: Heard) {
        let before = self.heard.lock().insert(address.clone(), heard.clone());
        let was_well = !matches!(before, Some(Heard::Fault(_) | Heard::Foreign(_)));
        match heard {
            _ if before.as_ref() == Some(&heard) => {}
            Heard::Fault(cause) | Heard::Foreign(cause) => {
                tracing::warn!(address, cause, "a server of MongoDB cannot be used");
            }
            _ if !was_well => tracing::info!(address, "a server of MongoDB can be used again"),
            _ => {}
        }
    }

    /// Whether one answers and takes writes.
    pub(crate) fn have_primary(&self) -> bool {
        let heard = self.heard.lock();
        heard.values().any(|heard| *heard == Heard::Primary)
    }

    /// Each server's address and cause, where no primary can be used.
    fn told(&self) -> Option<String> {
        if self.have_primary() {
            return None;
        }
        let heard = self.heard.lock();
        let told: Vec<String> = heard
            .iter()
            .map(|(address, heard)| match heard {
                Heard::Fault(cause) | Heard::Foreign(cause) => format!("{address}: {cause}"),
                _ => format!("{address}: it is no primary"),
            })
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// What a failure is about, with the servers that it came from, as far as they are known.
    pub(crate) fn explain(&self, error: &MongoError) -> String {
        let why = cause(error);
        match &*error.kind {
            ErrorKind::ServerSelection { .. }
            | ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. } => match self.told() {
                Some(told) => format!("MongoDB is down: {told}"),
                None => why,
            },
            ErrorKind::Authentication { .. } | ErrorKind::Command(_) => {
                format!("{why} ({})", self.addresses())
            }
            _ => why,
        }
    }

    fn addresses(&self) -> String {
        let heard = self.heard.lock();
        let primary = heard.iter().find(|(_, heard)| **heard == Heard::Primary);
        match primary {
            Some((address, _)) => address.clone(),
            None => heard.keys().cloned().collect::<Vec<_>>().join(", "),
        }
    }

    /// What an error of a connection means, and what mends it.
    fn cause(&self, error: &MongoError) -> String {
        const SETTINGS: TlsSettings = TlsSettings {
            authorities: "tlsCAFile of MONGO_URI",
            certificate: "tlsCertificateKeyFile of MONGO_URI",
        };
        let ErrorKind::Io(io) = &*error.kind else {
            return error.to_string();
        };
        let told = io.to_string();
        if let Some(cause) = tls_cause(&told, SETTINGS) {
            return cause;
        }
        use io::ErrorKind::{ConnectionReset, TimedOut, UnexpectedEof};
        let meaning = match io.kind() {
            _ if told.contains("InvalidContentType") => {
                "it does not speak TLS, see tls of MONGO_URI"
            }
            _ if told.contains("failed to lookup") => "its name is not found",
            UnexpectedEof | ConnectionReset if self.has_tls => {
                "it ends the connection: it may not speak TLS, see tls of MONGO_URI"
            }
            UnexpectedEof | ConnectionReset => {
                "it ends the connection: it may want TLS, see tls of MONGO_URI"
            }
            TimedOut => return "it does not answer (timed out)".to_owned(),
            _ => return told,
        };
        format!("{meaning} ({told})")
    }
}
