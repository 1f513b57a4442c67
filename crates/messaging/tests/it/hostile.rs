//! Messages that somebody else may have published: none stops the others, and none stays unacknowledged.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use async_nats::HeaderMap;
use serde_json::json;
use testbed::{Mongo, Nats, at_the_next, eventually, has_entered, mongo_uri, nats_url};

use crate::{
    sent::{
        Sent, acknowledged, applied, are_applied, are_aside, dead_letters, number, numbers,
        publish, send,
    },
    tally::Tally,
    toy::Place,
    waits::hangs,
};

/// Publishes headers that no client would, by NATS's own protocol.
fn publish_raw(place: &Place, subject: &str, headers: &[u8], payload: &[u8]) {
    let address = place.nats_url.replace("nats://", "");
    let mut connection = TcpStream::connect(address).unwrap();
    let (length, total) = (headers.len(), headers.len() + payload.len());
    let mut sent = b"CONNECT {\"verbose\":false,\"headers\":true}\r\n".to_vec();
    sent.extend(format!("HPUB {subject} {length} {total}\r\n").as_bytes());
    sent.extend(headers);
    sent.extend(payload);
    sent.extend(b"\r\nPING\r\n");
    connection.write_all(&sent).unwrap();
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.windows(4).any(|it| it == b"PONG") {
        let length = connection.read(&mut buffer).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&buffer[..length]);
    }
}

#[tokio::test]
async fn headers_that_the_client_cannot_read_are_dead_letters_and_hold_nobody_up() {
    let mut place = Place::new();
    place.timing.inbox.ack_wait = Duration::from_secs(2);
    place.timing.inbox.progress = Duration::from_millis(500);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    let subject = format!("{}.number.added.x", tally.place.name);
    let hostile = [
        &b"NATS/1.0\r\nce-subject: \xff\xfe\r\n\r\n"[..],
        b"NATS/1.0\r\nno field at all\r\n\r\n",
        b"HTTP/1.1\r\na: b\r\n\r\n",
    ];
    for headers in hostile {
        publish_raw(&tally.place, &subject, headers, b"{}");
    }
    send(&tally.place, (1..4).map(|version| number("a", version))).await;
    are_applied(&tally.place, "a", 0..4).await;
    acknowledged(&tally.place).await;
    let letters = dead_letters(&tally.place).await;
    assert_eq!(letters.len(), hostile.len());
    for (letter, headers) in letters.iter().zip(hostile) {
        assert_eq!(letter.get_str("state").unwrap(), "dead");
        assert_eq!(letter.get_binary_generic("headers").unwrap(), headers);
    }
    tally.finish().await;
}

/// The write hangs that puts aside a message with these headers.
async fn is_kept_although_a_write_hangs(headers: &[u8]) {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let mut place = Place::at(&mongo.uri(), &nats_url());
    place.timing.inbox.write_limit = Duration::from_millis(500);
    place.timing.inbox.ack_wait = Duration::from_secs(2);
    place.timing.inbox.progress = Duration::from_millis(500);
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    let subject = format!("{}.number.added.x", tally.place.name);
    at_the_next(&tally.place, "update", hangs()).await;
    publish_raw(&tally.place, &subject, headers, b"{}");
    has_entered(&tally.place, 1).await;
    send(&tally.place, [number("a", 1)]).await;
    are_applied(&tally.place, "a", 0..2).await;
    eventually("it is kept", async || {
        dead_letters(&tally.place).await.len() == 1
    })
    .await;
    acknowledged(&tally.place).await;
    // A stop would wait for what hangs.
    tally.kill().remove().await;
}

#[tokio::test]
async fn what_cannot_be_placed_is_kept_although_a_write_of_it_hangs() {
    is_kept_although_a_write_hangs(b"NATS/1.0\r\nce-type: number.added\r\n\r\n").await;
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_although_a_write_of_it_hangs() {
    is_kept_although_a_write_hangs(b"NATS/1.0\r\nno field at all\r\n\r\n").await;
}

#[tokio::test]
async fn a_message_that_passes_for_an_answer_of_the_server_is_applied_as_any_other() {
    let tally = Tally::start().await;
    let subject = format!("{}.number.added.a", tally.place.name);
    for (version, status) in ["503", "100", "408", "409 Consumer Deleted"]
        .iter()
        .enumerate()
    {
        let headers = format!("NATS/1.0 {status}\r\nce-keyversion: {version}\r\n\r\n");
        publish_raw(&tally.place, &subject, headers.as_bytes(), b"{\"add\":1}");
    }
    are_applied(&tally.place, "a", 0..4).await;
    tally.finish().await;
}

#[tokio::test]
async fn a_key_may_be_any_text_and_a_version_any_number() {
    let tally = Tally::start().await;
    for key in ["a\0b", "$where", "a.b c", "\u{202e}", "{}"] {
        let sent = Sent {
            key: "x",
            ..number("x", 0)
        };
        let mut headers = sent.headers();
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
        headers.insert("ce-subject", encoded);
        let subject = format!("{}.number.added.x", tally.place.name);
        publish(&tally.place, subject, headers, sent.payload.to_string()).await;
        are_applied(&tally.place, key, [0]).await;
    }
    send(&tally.place, [number("far", i64::MAX), number("below", -1)]).await;
    are_aside(&tally.place, "far", &[(i64::MAX, "waiting")]).await;
    acknowledged(&tally.place).await;
    let letters = dead_letters(&tally.place).await;
    assert_eq!(letters.len(), 2);
    assert!(
        letters
            .iter()
            .any(|letter| letter.get_str("reason").unwrap() == "its version is below 0")
    );
    tally.finish().await;
}

#[tokio::test]
async fn a_payload_of_any_shape_is_dead_and_holds_its_own_key_back_only() {
    let tally = Tally::start().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let endless = format!("{{\"add\":{}}}", "9".repeat(10_000));
    for (key, payload) in [
        ("deep", &*deep),
        ("nothing", ""),
        ("endless", &endless),
        ("nul", "\0"),
    ] {
        let sent = Sent {
            key,
            ..number(key, 0)
        };
        let subject = format!("{}.number.added.{key}", tally.place.name);
        publish(&tally.place, subject, sent.headers(), payload).await;
        are_aside(&tally.place, key, &[(0, "dead")]).await;
    }
    let subject = format!("{}.number.added.none", tally.place.name);
    publish(&tally.place, subject, HeaderMap::new(), deep).await;
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", [0]).await;
    acknowledged(&tally.place).await;
    assert_eq!(dead_letters(&tally.place).await.len(), 5);
    tally.finish().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_for_a_document_is_kept_by_its_place_in_the_stream() {
    const LARGE: usize = 17 * 1024 * 1024;
    let folder = tempfile::TempDir::new().unwrap();
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 32MB").unwrap();
    let mut nats = Nats::absent();
    nats.args = vec!["--config".into(), config.into()];
    nats.start().await;
    let place = Place::at(&mongo_uri(), &nats.url());
    numbers(&place).await;
    let tally = Tally::start_at(place).await;
    // In the wrong order, so that the large one is put aside, and comes from the stream when its turn has come.
    let large = |key, version| Sent {
        payload: json!({ "add": 1, "text": "x".repeat(LARGE) }),
        ..number(key, version)
    };
    send(&tally.place, [large("a", 1)]).await;
    are_aside(&tally.place, "a", &[(1, "waiting")]).await;
    assert!(!dead_letters(&tally.place).await[0].contains_key("payload"));
    send(&tally.place, [number("a", 0)]).await;
    are_applied(&tally.place, "a", 0..2).await;
    // The stream loses another meanwhile.
    send(&tally.place, [large("b", 1)]).await;
    are_aside(&tally.place, "b", &[(1, "waiting")]).await;
    let stream = crate::sent::jetstream(&tally.place).await;
    let stream = stream.get_stream(&tally.place.stream).await.unwrap();
    stream.purge().await.unwrap();
    send(&tally.place, [number("b", 0)]).await;
    eventually("it is applied", async || {
        applied(&tally.place, "b").await == [0]
    })
    .await;
    are_aside(&tally.place, "b", &[(1, "dead")]).await;
    tally.finish().await;
}

#[tokio::test]
async fn an_id_or_a_type_that_is_too_long_is_dead_and_is_not_copied_about() {
    // About the largest that JetStream takes in headers.
    const LARGE: usize = 60 * 1024;
    let tally = Tally::start().await;
    let large = "x".repeat(LARGE);
    for header in ["Nats-Msg-Id", "ce-type"] {
        let subject = format!("{}.number.added.a", tally.place.name);
        let headers = format!("NATS/1.0\r\n{header}: {large}\r\nce-keyversion: 0\r\n\r\n");
        publish_raw(&tally.place, &subject, headers.as_bytes(), b"{\"add\":1}");
    }
    send(&tally.place, [number("b", 0)]).await;
    are_applied(&tally.place, "b", [0]).await;
    acknowledged(&tally.place).await;
    let letters = dead_letters(&tally.place).await;
    assert_eq!(letters.len(), 2);
    for letter in letters {
        let reason = letter.get_str("reason").unwrap();
        assert!(reason.contains("longer than 1024 bytes"), "{reason}");
        for name in ["messageId", "type"] {
            assert!(letter.get_str(name).unwrap().len() <= 1024, "{name}");
        }
    }
    tally.finish().await;
}
