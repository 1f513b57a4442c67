//! What a service is told about its database.

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

fn uri(value: &str) -> Result<SecretString, String> {
    match mongodb::options::ConnectionString::parse(value) {
        Ok(_) => Ok(SecretString::from(value)),
        Err(_) => Err(
            "a connection string such as mongodb://127.0.0.1:27017/name?replicaSet=rs0".to_owned(),
        ),
    }
}
