//! Why nothing goes to NATS: the log names the address and the cause, and what mends it.

use std::{fs, time::Duration};

use tempfile::TempDir;
use testbed::{Certificates, Nats, mongo_uri};

use crate::{
    credentials::Operator,
    log::Log,
    rights::Configured,
    toy::{Place, Toy},
};

/// The line that tells of a connection that can't be made.
async fn told_of(place: &Place) -> String {
    let (log, _guard) = Log::capture();
    let _jetstream = place.jetstream().await;
    log.told("cannot connect to NATS").await
}

fn place(nats: &Nats) -> Place {
    Place::at(&mongo_uri(), &nats.url())
}

async fn with_tls(certificates: &Certificates, more: &str) -> Configured {
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, {more} }}",
        certificates.path("cert.pem"),
        certificates.path("key.pem"),
        certificates.path("ca.pem"),
    );
    Configured::start(&config).await
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_its_address() {
    let nats = Nats::absent();
    let line = told_of(&place(&nats)).await;
    assert!(line.contains(&nats.url()), "{line}");
    assert!(line.contains("refused"), "{line}");
    let nowhere = "nats://user:s3cret@nats.invalid:4222";
    let line = told_of(&Place::at(&mongo_uri(), nowhere)).await;
    assert!(
        line.contains("nats://nats.invalid:4222: its name is not found"),
        "{line}"
    );
    assert!(!line.contains("s3cret"), "{line}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_told_as_that() {
    let certificates = Certificates::issue();
    let nats = with_tls(&certificates, "").await;
    let mut place = place(&nats.nats);
    let stranger = Certificates::issue();
    for authority in [None, Some(stranger.path("ca.pem"))] {
        place.access.nats_tls_ca_file = authority;
        let line = told_of(&place).await;
        let told = format!("{}: no authority that is trusted", nats.nats.url());
        assert!(line.contains(&told), "{line}");
        assert!(line.contains("NATS_TLS_CA_FILE"), "{line}");
    }
    place.access.nats_tls_ca_file = Some(certificates.path("ca.pem"));
    place.nats_url = place.nats_url.replace("127.0.0.1", "localhost");
    let line = told_of(&place).await;
    assert!(
        line.contains("its certificate is for another name"),
        "{line}"
    );
    assert!(
        line.contains("127.0.0.1"),
        "{line} names the one that it is for"
    );
}

#[tokio::test]
async fn a_server_that_speaks_tls_otherwise_than_we_do_is_told_as_that() {
    let certificates = Certificates::issue();
    let plain = Configured::start("").await;
    let mut place = place(&plain.nats);
    place.access.nats_tls_ca_file = Some(certificates.path("ca.pem"));
    let line = told_of(&place).await;
    assert!(line.contains("it does not speak TLS"), "{line}");
    place.access.nats_tls_first = true;
    let line = told_of(&place).await;
    assert!(line.contains("NATS_TLS_FIRST"), "{line}");

    let first = with_tls(&certificates, "handshake_first: true").await;
    place.nats_url = first.nats.url();
    place.access.nats_tls_first = false;
    let line = told_of(&place).await;
    assert!(line.contains("NATS_TLS_FIRST=true"), "{line}");

    let asking = with_tls(&certificates, "verify: true").await;
    place.nats_url = asking.nats.url();
    let line = told_of(&place).await;
    assert!(
        line.contains("it wants a certificate of ours, see NATS_TLS_CERT_FILE"),
        "{line}"
    );
}

#[tokio::test]
async fn a_server_that_refuses_who_we_are_is_told_with_the_setting_that_says_it() {
    let users = Configured::with_users(&[("alice", "")]).await;
    let line = told_of(&place(&users.nats)).await;
    assert!(line.contains("it wants to know who we are"), "{line}");
    let line = told_of(&users.place("mallory")).await;
    assert!(line.contains("it refuses the user of NATS_URL"), "{line}");

    let operator = Operator::new();
    let nats = Configured::start(&operator.config()).await;
    let folder = TempDir::new().unwrap();
    let mut place = place(&nats.nats);
    let file = folder.path().join("user.creds");
    place.access.nats_creds_file = Some(file.clone());
    fs::write(&file, operator.credentials(Some(Duration::ZERO))).unwrap();
    let line = told_of(&place).await;
    assert!(
        line.contains("the credentials in NATS_CREDS_FILE have expired"),
        "{line}"
    );
    fs::write(&file, Operator::new().credentials(None)).unwrap();
    let line = told_of(&place).await;
    assert!(
        line.contains("it refuses the credentials in NATS_CREDS_FILE"),
        "{line}"
    );
}

#[tokio::test]
async fn what_nats_does_not_let_us_publish_is_told_as_that() {
    let nats = Configured::with_users(&[("alice", "\"*.counter.updated.*\"")]).await;
    let mut place = nats.place("alice");
    place.timing.ack_timeout = Duration::from_secs(1);
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    let key = toy.create().await;
    toy.update(&key).await;
    let line = log.told("could not be published").await;
    let subject = format!("{}.counter.updated.{key}", toy.place.name);
    assert!(
        line.contains(&format!("NATS does not let us publish to {subject}")),
        "{line}"
    );
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_question_or_answer_that_nats_denies_is_told_as_that() {
    let alice = |rights: &str| {
        format!(
            "authorization {{ users: [ {{ user: alice, password: alice, permissions: {{ {rights} }} }} ] }}"
        )
    };
    let nats = Configured::start(&alice("publish: { deny: \"$JS.API.STREAM.INFO.>\" }")).await;
    let mut place = nats.place("alice");
    place.timing.ack_timeout = Duration::from_secs(1);
    let (log, guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    let line = log.told("the stream cannot be used").await;
    let subject = format!("$JS.API.STREAM.INFO.{}", toy.place.name);
    assert!(
        line.contains(&format!("NATS does not let us publish to {subject}")),
        "{line}"
    );
    let mut place = toy.stop().await;
    drop(guard);

    place.access.nats_inbox_prefix = "answers".to_owned();
    nats.change(&alice("subscribe: { deny: \"answers.>\" }"))
        .await;
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    let line = log.told("the stream cannot be used").await;
    assert!(
        line.contains("NATS does not let us subscribe to answers."),
        "{line}"
    );
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn answers_that_nats_denies_for_a_while_come_again_when_it_allows_them() {
    let alice = |rights: &str| {
        format!(
            "authorization {{ users: [ {{ user: alice, password: alice, permissions: {{ {rights} }} }} ] }}"
        )
    };
    let allowed = alice("subscribe: { allow: \">\" }");
    let nats = Configured::start(&allowed).await;
    let mut place = nats.place("alice");
    place.timing.ack_timeout = Duration::from_secs(1);
    place.access.nats_inbox_prefix = "answers".to_owned();
    let (log, _guard) = Log::capture();
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    nats.change(&alice("subscribe: { deny: \"answers.>\" }"))
        .await;
    toy.create().await;
    let line = log.told("NATS denies us its answers").await;
    assert!(line.contains("error=\"answers."), "{line}");
    nats.change(&allowed).await;
    toy.place.drained().await;
    toy.stop().await.database().await.drop().await.unwrap();
}
