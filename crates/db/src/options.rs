//! What a service is told about its database.

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use crate::uri::check;

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

fn uri(value: &str) -> Result<SecretString, String> {
    check(value).map(|()| SecretString::from(value))
}
