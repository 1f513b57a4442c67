//! `outbox skip`: a parked event is given up, its key goes on, and consumers are told where they can be.

use std::time::Duration;

use async_nats::jetstream;
use bson::{Document, doc, oid::ObjectId};
use messaging::Outbox;
use testbed::{eventually, nats_url, plant};

use crate::{
    conflicts::ids_are_forgotten,
    log::Log,
    operator::outbox,
    toy::{Place, Toy, event, published},
};

async fn skip(place: &Place, id: &str) -> anyhow::Result<()> {
    outbox(place, &["skip", id, "--reason", "a bad import"]).await
}

/// The id of the one that is parked, as a majority of the servers has it: the command reads that.
async fn parked(place: &Place) -> String {
    let outbox = Outbox::new(&place.db().await);
    let listed = async || outbox.list(true, 10).await.unwrap();
    eventually("it is parked", async || listed().await.len() == 1).await;
    listed().await.remove(0).id
}

fn unreadable(key: &str) -> Document {
    let mut unreadable = event(key, 0, doc! {});
    unreadable.insert("data", "text");
    unreadable
}

async fn notes(place: &Place) -> Vec<Document> {
    use futures_util::TryStreamExt;
    let notes = place.database().await.collection::<Document>("parked");
    let notes = notes.find(doc! {}).await.unwrap();
    notes.try_collect().await.unwrap()
}

/// The reason is kept, and nothing of it waits any more.
async fn is_settled(place: &Place) {
    eventually("its note is settled", async || {
        let notes = notes(place).await;
        notes.len() == 1 && notes[0].get_str("state").ok() == Some("skipped")
    })
    .await;
    let note = notes(place).await.remove(0);
    let skip = note.get_document("skip").unwrap();
    assert_eq!(skip.get_str("reason").unwrap(), "a bad import");
    assert!(skip.get_datetime("at").is_ok());
    assert!(note.get_str("reason").is_ok(), "and why it was parked");
    let outbox = Outbox::new(&place.db().await);
    eventually("it does not count as parked", async || {
        outbox.status().await.unwrap().parked == 0
    })
    .await;
}

#[tokio::test]
async fn a_skipped_event_is_told_without_its_payload_and_its_key_goes_on() {
    let toy = Toy::start().await;
    plant(
        &toy.place,
        [unreadable("a"), event("a", 1, doc! { "fine": true })],
    )
    .await;
    let id = parked(&toy.place).await;
    skip(&toy.place, &id).await.unwrap();
    toy.place.drained().await;
    let messages = toy.place.messages().await;
    let subjects = messages.iter().map(|message| message.subject.as_str());
    let of = |verb: &str| format!("{}.counter.{verb}.a", toy.place.name);
    assert_eq!(subjects.collect::<Vec<_>>(), [of("skipped"), of("updated")]);
    let told = &messages[0];
    let header = |name: &str| told.headers.get(name).map(|value| value.as_str());
    assert!(told.payload.is_empty());
    assert_eq!(header("content-type"), None);
    assert_eq!(header("ce-type"), Some("counter.skipped"));
    assert_eq!(header("ce-subject"), Some("a"));
    assert_eq!(header("ce-keyversion"), Some("0"));
    assert_eq!(header("ce-id"), Some(&*id));
    assert_eq!(header("Nats-Msg-Id"), Some(&*id));
    is_settled(&toy.place).await;
    toy.finish().await;
}

#[tokio::test]
async fn a_conflict_is_skipped_and_nobody_is_told() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    plant(&toy.place, [event("a", 0, doc! {})]).await;
    toy.place.drained().await;
    ids_are_forgotten(&toy.place).await;
    let events = toy.place.database().await.collection::<Document>("events");
    events.delete_many(doc! {}).await.unwrap();
    plant(&toy.place, [event("a", 0, doc! { "other": true })]).await;
    skip(&toy.place, &parked(&toy.place).await).await.unwrap();
    toy.place.drained().await;
    plant(&toy.place, [event("a", 1, doc! {})]).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "a").await, [0, 1]);
    is_settled(&toy.place).await;
    toy.finish().await;
}

#[tokio::test]
async fn what_no_subject_can_be_made_of_is_skipped_and_nobody_is_told() {
    for name in ["no text", "a b", "*"] {
        let toy = Toy::start().await;
        let mut poison = unreadable(name);
        if name == "no text" {
            poison.insert("key", 5);
        }
        plant(&toy.place, [poison]).await;
        skip(&toy.place, &parked(&toy.place).await).await.unwrap();
        toy.place.drained().await;
        assert!(toy.place.messages().await.is_empty());
        is_settled(&toy.place).await;
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_skip_is_refused_where_the_stream_could_not_tell_and_where_nothing_is_parked() {
    let place = Place::new();
    let nats = jetstream::new(async_nats::connect(nats_url()).await.unwrap());
    let verbs = ["created", "updated"];
    let subjects = verbs.map(|verb| format!("{}.counter.{verb}.*", place.name));
    let config = jetstream::stream::Config {
        name: place.name.clone(),
        subjects: subjects.to_vec(),
        ..jetstream::stream::Config::default()
    };
    nats.create_stream(config).await.unwrap();
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    log.told("`outbox skip` refuses").await;
    plant(&toy.place, [unreadable("a")]).await;
    let id = parked(&toy.place).await;
    let refused = skip(&toy.place, &id).await.unwrap_err().to_string();
    assert!(
        refused.contains("does not take counter.skipped.*"),
        "{refused}"
    );
    assert_eq!(parked(&toy.place).await, id);
    let unknown = ObjectId::new().to_hex();
    let refused = skip(&toy.place, &unknown).await.unwrap_err().to_string();
    assert!(
        refused.contains("no event with this id is parked"),
        "{refused}"
    );
    assert!(
        outbox(&toy.place, &["skip", &id, "--reason", ""])
            .await
            .is_err()
    );
    toy.stop().await.remove().await;
}

#[tokio::test]
async fn what_was_skipped_is_not_published_after_all_by_a_replay() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let mut silent = unreadable("silent");
    silent.insert("key", 5);
    plant(&toy.place, [unreadable("told"), silent]).await;
    eventually("both are parked", async || {
        toy.place.parked().await.len() == 2
    })
    .await;
    for note in toy.place.parked().await {
        let id = note.get_object_id("_id").unwrap().to_hex();
        skip(&toy.place, &id).await.unwrap();
    }
    toy.place.drained().await;
    let skipped = async || {
        let messages = toy.place.messages().await;
        let subjects = messages.iter().map(|message| message.subject.to_string());
        subjects.collect::<Vec<_>>()
    };
    let told = [format!("{}.counter.skipped.told", toy.place.name)];
    assert_eq!(skipped().await, told);
    eventually("their notes are settled", async || {
        let notes = notes(&toy.place).await;
        notes
            .iter()
            .all(|note| note.get_str("state").ok() == Some("skipped"))
    })
    .await;
    testbed::stream(&toy.place).await.purge().await.unwrap();
    ids_are_forgotten(&toy.place).await;
    outbox(&toy.place, &["replay", "--since", "1h"])
        .await
        .unwrap();
    toy.place.drained().await;
    assert_eq!(skipped().await.last(), told.last());
    assert!(toy.place.parked().await.is_empty());
    toy.finish().await;
}

#[tokio::test]
async fn what_was_skipped_and_is_lost_below_a_later_version_is_told_again_by_a_replay() {
    let mut place = Place::new();
    place.duplicate_window = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    plant(&toy.place, [unreadable("a"), event("a", 1, doc! {})]).await;
    skip(&toy.place, &parked(&toy.place).await).await.unwrap();
    toy.place.drained().await;
    is_settled(&toy.place).await;
    ids_are_forgotten(&toy.place).await;
    testbed::stream(&toy.place)
        .await
        .delete_message(1)
        .await
        .unwrap();
    assert_eq!(published(&toy.place, "a").await, [1]);
    for _ in 0..2 {
        // The second finds nothing.
        outbox(&toy.place, &["replay", "--since", "1h"])
            .await
            .unwrap();
        toy.place.drained().await;
        assert_eq!(published(&toy.place, "a").await, [1, 0]);
    }
    toy.finish().await;
}

#[tokio::test]
async fn a_note_of_an_event_that_was_mended_by_hand_holds_nothing_back() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_millis(100);
    let toy = Toy::start_at(place).await;
    let events = toy.place.database().await.collection::<Document>("events");
    plant(&toy.place, [unreadable("a")]).await;
    parked(&toy.place).await;
    // The same version, under another id.
    events
        .delete_one(doc! { "key": "a", "version": 0 })
        .await
        .unwrap();
    plant(&toy.place, [event("a", 0, doc! {})]).await;
    toy.place.drained().await;
    assert_eq!(published(&toy.place, "a").await, [0]);
    // Marked by hand, it is seen and settled by the operators' own means.
    plant(&toy.place, [unreadable("b")]).await;
    let id = parked(&toy.place).await;
    let sent = doc! { "$set": { "sent": "YES" } };
    events.update_one(doc! { "key": "b" }, sent).await.unwrap();
    plant(&toy.place, [event("b", 1, doc! {})]).await;
    outbox(&toy.place, &["retry", &id]).await.unwrap();
    toy.place.drained().await;
    assert!(notes(&toy.place).await.is_empty());
    toy.finish().await;
}

/// Whoever marked it died before it was noted.
#[tokio::test]
async fn what_was_decided_of_an_event_that_is_sent_is_settled_by_the_next_look() {
    let mut place = Place::new();
    place.timing.safety_interval = Duration::from_millis(100);
    let (db, _) = place.prepared().await;
    let noted = db.collection::<Document>("parked");
    for (key, state) in [("a", "retried"), ("b", "given up")] {
        let mut sent = event(key, 0, doc! {});
        sent.insert("sent", "YES");
        let note = doc! { "_id": sent.get_object_id("_id").unwrap(), "key": key, "version": 0_i64, "reason": "once", "state": state,
        "skip": { "reason": "a bad import", "type": "counter.skipped", "at": bson::DateTime::now() } };
        plant(&place, [sent]).await;
        noted.insert_one(note).await.unwrap();
    }
    let toy = Toy::start_at(place).await;
    is_settled(&toy.place).await;
    assert_eq!(notes(&toy.place).await[0].get_str("key").unwrap(), "b");
    assert!(toy.place.messages().await.is_empty());
    toy.finish().await;
}
