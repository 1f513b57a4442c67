//! What a service is told about its database.

use std::fmt::Display;

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

/// The database.
#[derive(Debug, Clone, Args)]
pub struct MongoOptions {
    /// Connection string of a replica set; its path names the database. Required.
    #[arg(long, env, value_name = "MONGO_URI", hide_env_values = true, default_value = "", hide_default_value = true, value_parser = uri)]
    pub mongo_uri: SecretString,
}

impl MongoOptions {
    pub(crate) fn uri(&self) -> &str {
        self.mongo_uri.expose_secret()
    }
}

/// An option whose value reads well, but can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable} cannot be used: {reason}")]
pub struct Unusable {
    pub variable: &'static str,
    pub reason: String,
}

/// Makes an [`Unusable`] of a reason: for `map_err`.
pub fn unusable<E: Display>(variable: &'static str) -> impl Fn(E) -> Unusable {
    move |reason| Unusable {
        variable,
        reason: reason.to_string(),
    }
}

fn uri(value: &str) -> Result<SecretString, String> {
    match mongodb::options::ConnectionString::parse(value) {
        Ok(_) => Ok(SecretString::from(value)),
        Err(_) => Err(
            "a connection string such as mongodb://127.0.0.1:27017/name?replicaSet=rs0".to_owned(),
        ),
    }
}
