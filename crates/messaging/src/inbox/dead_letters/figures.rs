//! How much is put aside, for scrapers and for people.

use std::time::SystemTime;

use bson::{Document, RawDocumentBuf, doc};
use futures_util::TryStreamExt;
use metrics::gauge;

use super::{DEAD, Inbox, RETRYING, WAITING, operators::InboxStatus};
use crate::metrics::{DEAD_LETTERS, INBOX_READ, OLDEST_WAITING};

/// More are not counted.
const MOST: u64 = 100_000;

/// Reads the figures that the database knows of these consumers. `None` where not all could be read.
pub async fn read_inbox_figures(
    inbox: &Inbox,
    consumers: &[&'static str],
) -> Option<Vec<InboxStatus>> {
    let mut all = Some(Vec::new());
    if consumers.is_empty() {
        return all;
    }
    for &consumer in consumers {
        let read = inbox.clone();
        let limit = std::time::Duration::from_secs(10);
        let status = async move { read.status(consumer).await };
        let status = inbox.db.bounded(limit, status).await;
        let status =
            status.inspect_err(|error| tracing::debug!(%error, "cannot read the inbox's figures"));
        let status = status.ok();
        let figure = |of: fn(&InboxStatus) -> f64| status.as_ref().map_or(f64::NAN, of);
        for (state, count) in [
            (WAITING, figure(|status| status.waiting as f64)),
            (RETRYING, figure(|status| status.retrying as f64)),
            (DEAD, figure(|status| status.dead as f64)),
        ] {
            gauge!(DEAD_LETTERS, "consumer" => consumer, "state" => state).set(count);
        }
        let oldest = figure(|status| status.oldest_waiting_seconds.unwrap_or_default());
        gauge!(OLDEST_WAITING, "consumer" => consumer).set(oldest);
        all = all.zip(status).map(|(mut all, status)| {
            all.push(status);
            all
        });
    }
    if all.is_some() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        gauge!(INBOX_READ).set(now.unwrap_or_default().as_secs_f64());
    } else {
        // That they never could be read is told too.
        gauge!(INBOX_READ).increment(0.0);
    }
    all
}

impl Inbox {
    /// How much of a consumer's is put aside, each state counted up to 100,000.
    ///
    /// # Errors
    /// The driver's.
    pub async fn status(&self, consumer: &str) -> mongodb::error::Result<InboxStatus> {
        let letters = self.dead_letters::<Document>();
        let any = letters.find_one(doc! { "_id.consumer": consumer });
        if any.projection(doc! { "_id": 1 }).await?.is_none() {
            return Ok(InboxStatus {
                consumer: consumer.to_owned(),
                waiting: 0,
                oldest_waiting_seconds: None,
                retrying: 0,
                dead: 0,
            });
        }
        let count = async |state: &str| {
            let of_state = doc! { "_id.consumer": consumer, "state": state };
            letters.count_documents(of_state).limit(MOST).await
        };
        let oldest = [
            doc! { "$match": { "_id.consumer": consumer, "state": WAITING } },
            doc! { "$sort": { "nextAt": 1 } },
            doc! { "$limit": 1 },
            doc! { "$project": { "ms": { "$subtract": ["$$NOW", "$nextAt"] } } },
        ];
        let mut oldest = letters
            .aggregate(oldest)
            .await?
            .with_type::<RawDocumentBuf>();
        let ms = oldest
            .try_next()
            .await?
            .and_then(|it| it.get_i64("ms").ok());
        Ok(InboxStatus {
            consumer: consumer.to_owned(),
            waiting: count(WAITING).await?,
            oldest_waiting_seconds: ms.map(|ms| ms.max(0) as f64 / 1000.0),
            retrying: count(RETRYING).await?,
            dead: count(DEAD).await?,
        })
    }
}
