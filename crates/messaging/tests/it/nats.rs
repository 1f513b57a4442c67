//! The connection to NATS: who we are, what the log tells of it, and how little is asked over it.

use bson::{Document, doc};
use futures_util::{FutureExt, StreamExt};
use testbed::{Nats, eventually, mongo_uri, stream};
use tokio::net::TcpListener;

use crate::{
    log::Log,
    toy::{Place, Toy},
};

#[tokio::test]
async fn a_user_with_password_or_a_token_is_taken_from_the_address() {
    for (args, login) in [
        (
            &["--user", "alice", "--pass", "s3cret"][..],
            "alice:s3cret@",
        ),
        (&["--auth", "a-token"], "a-token@"),
    ] {
        let mut nats = Nats::absent();
        nats.args = args.iter().map(Into::into).collect();
        nats.start().await;
        let url = nats.url().replace("://", &format!("://{login}"));
        let toy = Toy::start_at(Place::at(&mongo_uri(), &url)).await;
        toy.create().await;
        toy.place.drained().await;
        let place = toy.stop().await;
        place.database().await.drop().await.unwrap();
    }
}

#[tokio::test]
async fn each_outage_of_nats_is_told_once_and_so_is_its_end() {
    let mut nats = Nats::absent();
    let place = Place::at(&mongo_uri(), &nats.url());
    // Something else listens there: each attempt to connect fails, and is counted.
    let address = nats.url().replace("nats://", "");
    let other = TcpListener::bind(&address).await.unwrap();
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    for _ in 0..4 {
        drop(other.accept().await.unwrap());
    }
    drop(other);
    nats.start().await;
    let told = async |lines: usize| {
        eventually("it is told", async || {
            log.lines_with("to NATS").len() >= lines
        })
        .await;
    };
    told(2).await;
    nats.kill();
    told(4).await;
    nats.start().await;
    told(5).await;
    let place = toy.stop().await;
    let lines = log.lines_with("to NATS");
    let expected = [
        "cannot connect to NATS; events wait",
        "connected to NATS",
        "not connected to NATS; events wait",
        "cannot connect to NATS; events wait",
        "connected to NATS",
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{lines:#?}");
    }
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn nothing_is_asked_of_the_stream_before_an_ordinary_publication() {
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    let client = async_nats::connect(&toy.place.nats_url).await.unwrap();
    let asked = format!("$JS.API.STREAM.*.GET.{}", toy.place.name);
    let mut asked = client.subscribe(asked).await.unwrap();
    client.flush().await.unwrap();
    let id = toy.create().await;
    for _ in 1..=4 {
        toy.update(&id).await;
        toy.place.drained().await;
    }
    client.flush().await.unwrap();
    let first = asked.next().now_or_never();
    assert!(first.is_none(), "{first:?}");
    // What a question looks like.
    toy.place.messages().await;
    assert!(asked.next().await.is_some());
    toy.finish().await;
}

#[tokio::test]
async fn what_the_stream_took_is_not_published_again_though_a_consumer_removed_it() {
    let toy = Toy::start().await;
    toy.create().await;
    toy.place.drained().await;
    let place = toy.stop().await;
    stream(&place).await.purge().await.unwrap();
    // As if it had crashed before it marked the event.
    let events = place.database().await.collection::<Document>("events");
    let unmarked = doc! { "$set": { "sent": "NO" }, "$unset": { "sentAt": "" } };
    events.update_one(doc! {}, unmarked).await.unwrap();
    let toy = Toy::start_at(place).await;
    toy.place.drained().await;
    assert!(toy.place.messages().await.is_empty());
    toy.finish().await;
}
