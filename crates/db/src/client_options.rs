//! What the driver is told: the connection string, and what it has no say in.

use std::time::Duration;

use mongodb::{
    error::ErrorKind,
    options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, Tls, WriteConcern},
};

use crate::{
    MongoOptions, Timing, metrics,
    setting::{Unusable, unusable},
    uri::{check_files, without_overridden},
};

/// The driver's 10 connections make a queue of a busy service's transactions.
pub(crate) const MAX_POOL_SIZE: u32 = 80;
/// The driver's 2 make a queue of a busy service's start.
const MAX_CONNECTING: u32 = 8;

/// What the client of `service` is made with.
///
/// # Errors
/// When the connection string asks for something that can't be had.
pub(crate) async fn client_options(
    options: &MongoOptions,
    service: &str,
    timing: Timing,
) -> Result<ClientOptions, Unusable> {
    let (uri, overridden) = without_overridden(options.uri());
    if !overridden.is_empty() {
        let options = overridden.join(", ");
        tracing::warn!(options, "options of MONGO_URI that have no effect here");
    }
    let options = resolve(&uri, timing.look_up_again).await;
    let mut options = options.map_err(unusable("MONGO_URI"))?;
    check_files(options.tls.as_ref()).map_err(unusable("MONGO_URI"))?;
    if let Some(Tls::Enabled(tls)) = &options.tls
        && tls.allow_invalid_certificates == Some(true)
    {
        tracing::warn!(
            "MONGO_URI takes any certificate: whoever is on the way can answer in MongoDB's place, and read and change everything"
        );
    }
    complete(&mut options, service, timing);
    Ok(options)
}

/// Adds what the connection string does not say, and what it has no say in.
fn complete(options: &mut ClientOptions, service: &str, timing: Timing) {
    options.app_name.get_or_insert_with(|| service.to_owned());
    options
        .server_selection_timeout
        .get_or_insert(timing.server_selection);
    options.connect_timeout.get_or_insert(timing.connect);
    options.max_pool_size.get_or_insert(MAX_POOL_SIZE);
    options.max_connecting.get_or_insert(MAX_CONNECTING);
    options.cmap_event_handler = Some(metrics::pool("requests"));
    // Transactions take these from the client, not from the collection. A majority alone may have it in memory only
    // (`writeConcernMajorityJournalDefault: false`).
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true);
    options.write_concern = Some(durable.build());
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(ReadPreference::Primary.into());
    options.retry_reads = Some(true);
    options.retry_writes = Some(true);
    options.direct_connection = Some(false);
    // A TXT record of a `mongodb+srv://` name may say so.
    options.load_balanced = None;
}

/// Reads the connection string. The servers of a `mongodb+srv://` are looked up until they are found.
async fn resolve(uri: &str, look_up_again: Duration) -> mongodb::error::Result<ClientOptions> {
    loop {
        match ClientOptions::parse(uri).await {
            Err(error) if matches!(*error.kind, ErrorKind::DnsResolve { .. }) => {
                tracing::warn!(%error, again_in = ?look_up_again, "waiting for the database's name");
                tokio::time::sleep(look_up_again).await;
            }
            parsed => return parsed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_name_that_is_not_found_is_looked_up_again() {
        let never = Duration::from_secs(3600);
        let read = resolve("mongodb://127.0.0.1:1/?w=-1", never);
        let read = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(read.expect("it is told at once").is_err());
    }

    #[tokio::test]
    async fn the_connection_string_goes_before_our_times_and_not_before_the_majority() {
        let read = async |uri: &str| {
            let mut options = ClientOptions::parse(uri).await.unwrap();
            complete(&mut options, "test", Timing::default());
            options
        };
        let ours = read("mongodb://127.0.0.1:1/test").await;
        let timing = Timing::default();
        assert_eq!(ours.connect_timeout, Some(timing.connect));
        assert_eq!(ours.server_selection_timeout, Some(timing.server_selection));
        assert_eq!(ours.max_pool_size, Some(MAX_POOL_SIZE));
        assert_eq!(ours.max_connecting, Some(MAX_CONNECTING));
        let theirs =
            read("mongodb://127.0.0.1:1/test?connectTimeoutMS=7&serverSelectionTimeoutMS=8&maxPoolSize=9&w=1&journal=false&readConcernLevel=local&readPreference=secondary&retryReads=false&retryWrites=false&directConnection=true").await;
        assert_eq!(theirs.connect_timeout, Some(Duration::from_millis(7)));
        let selection = theirs.server_selection_timeout;
        assert_eq!(selection, Some(Duration::from_millis(8)));
        assert_eq!(theirs.max_pool_size, Some(9));
        let durable = WriteConcern::builder().w(Acknowledgment::Majority);
        assert_eq!(theirs.write_concern, Some(durable.journal(true).build()));
        assert_eq!(theirs.read_concern, Some(ReadConcern::majority()));
        let primary = Some(ReadPreference::Primary.into());
        assert_eq!(theirs.selection_criteria, primary);
        assert_eq!(
            (theirs.retry_reads, theirs.retry_writes),
            (Some(true), Some(true))
        );
        assert_eq!(theirs.direct_connection, Some(false));
    }
}
