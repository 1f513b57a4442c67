use std::{io, time::Duration};

use secrecy::SecretString;

use crate::{Abort, Db, Error, MongoOptions, Timing, TransactionError, connection::MOST_UNDER_WAY};

/// A database that is away.
async fn away() -> Db {
    let mongo_uri = SecretString::from("mongodb://127.0.0.1:1/test");
    let options = MongoOptions { mongo_uri };
    Db::connect(&options, "test", Timing::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn no_transaction_begins_before_collections_and_indexes_are_there() {
    let db = away().await;
    assert!(!db.is_prepared());
    let refused = db
        .transaction((), |_, ()| Box::pin(async { Ok::<_, Abort<()>>(()) }))
        .await;
    assert!(matches!(
        refused,
        Err(TransactionError::Failed(Error::NotReady))
    ));
    db.mark_prepared();
    assert!(db.clone().is_prepared());
}

#[tokio::test]
async fn who_waits_for_the_end_waits_for_what_nobody_else_waits_for() {
    let db = away().await;
    let (go_on, goes_on) = tokio::sync::oneshot::channel::<()>();
    let given_up = db.bounded(Duration::ZERO, async move {
        Ok(goes_on.await.map_err(io::Error::other)?)
    });
    assert!(given_up.await.is_err());
    let mut drained = std::pin::pin!(db.drain());
    assert!(futures_util::poll!(&mut drained).is_pending());
    go_on.send(()).unwrap();
    drained.await;
}

#[tokio::test]
async fn what_waits_for_a_database_that_is_cut_off_is_bounded() {
    let db = away().await;
    let asked = db.read(async { Ok(()) }).await;
    assert!(matches!(asked, Err(Error::NotReady)), "it may be another's");
    db.mark_prepared();
    for _ in 0..MOST_UNDER_WAY {
        let given_up = db.bounded(
            Duration::ZERO,
            std::future::pending::<mongodb::error::Result<()>>(),
        );
        assert!(given_up.await.is_err());
    }
    let refused = db.read(async { Ok(()) }).await;
    assert!(matches!(refused, Err(Error::Overloaded)));
}
