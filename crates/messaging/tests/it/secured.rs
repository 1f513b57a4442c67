//! A NATS that speaks TLS only and asks who we are.

use messaging::NatsAccess;
use testbed::{Certificates, Nats, eventually, mongo_uri};

use crate::{
    credentials::Operator,
    log::Log,
    rights::Configured,
    toy::{Place, Toy},
};

#[tokio::test]
async fn user_and_password_of_the_url_are_percent_decoded() {
    let config = "authorization { users: [ { user: \"a b\", password: \"p@ss:w/rd%\" } ] }";
    let nats = Configured::start(config).await;
    let url = nats.nats.url().replace("//", "//a%20b:p%40ss%3Aw%2Frd%25@");
    let toy = Toy::begin_at(Place::at(&mongo_uri(), &url)).await;
    eventually("it is connected", async || toy.is_connected_to_nats()).await;
    toy.stop().await.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn events_are_published_to_a_nats_that_wants_tls_a_certificate_and_credentials() {
    let certificates = Certificates::issue();
    let operator = Operator::new();
    let tls = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}\n",
        certificates.path("cert.pem"),
        certificates.path("key.pem"),
        certificates.path("ca.pem")
    );
    let config = certificates.write("nats.conf", &(tls + &operator.config()));
    let credentials = certificates.write("user.creds", &operator.credentials(None));
    let mut nats = Nats::absent();
    nats.args = vec!["--config".into(), config.into()];
    nats.start().await;
    let mut place = Place::at(&mongo_uri(), &nats.url());
    let all = NatsAccess {
        nats_creds_file: Some(credentials),
        nats_tls_ca_file: Some(certificates.path("ca.pem")),
        nats_tls_cert_file: Some(certificates.path("cert.pem")),
        nats_tls_key_file: Some(certificates.path("key.pem")),
        ..NatsAccess::default()
    };
    // Each of them is asked for: without it nobody can connect.
    let without_creds = NatsAccess {
        nats_creds_file: None,
        ..all.clone()
    };
    let without_ca = NatsAccess {
        nats_tls_ca_file: None,
        ..all.clone()
    };
    let without_cert = NatsAccess {
        nats_tls_cert_file: None,
        nats_tls_key_file: None,
        ..all.clone()
    };
    for files in [without_creds, without_ca, without_cert] {
        place.access = files;
        let (log, _guard) = Log::capture();
        let _stranger = place.jetstream().await;
        log.told("cannot connect to NATS").await;
    }
    place.access = all;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    assert!(toy.is_connected_to_nats());
    let place = toy.stop().await;
    place.database().await.drop().await.unwrap();
}

#[tokio::test]
async fn a_nats_without_tls_is_not_talked_to_where_files_for_tls_are_given() {
    let certificates = Certificates::issue();
    let with_ca = NatsAccess {
        nats_tls_ca_file: Some(certificates.path("ca.pem")),
        ..NatsAccess::default()
    };
    let with_cert = NatsAccess {
        nats_tls_cert_file: Some(certificates.path("cert.pem")),
        nats_tls_key_file: Some(certificates.path("key.pem")),
        ..NatsAccess::default()
    };
    for files in [with_ca, with_cert] {
        let mut place = Place::new();
        place.access = files;
        let (log, _guard) = Log::capture();
        let toy = Toy::start_at(place).await;
        toy.create().await;
        let told = log.told("connect").await;
        assert!(told.contains("cannot connect to NATS"), "{told}");
        assert!(!toy.is_connected_to_nats());
        let place = toy.stop().await;
        assert_eq!(place.events().await[0].get_str("sent").unwrap(), "NO");
        assert!(place.messages().await.is_empty());
        place.remove().await;
    }
}

#[tokio::test]
async fn a_nats_that_begins_with_tls_is_spoken_to_so_where_that_is_set() {
    let certificates = Certificates::issue();
    let config = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, handshake_first: true }}",
        certificates.path("cert.pem"),
        certificates.path("key.pem")
    );
    let nats = Configured::start(&config).await;
    let mut place = Place::at(&mongo_uri(), &nats.nats.url());
    place.access.nats_tls_ca_file = Some(certificates.path("ca.pem"));
    place.access.nats_tls_first = true;
    let toy = Toy::start_at(place).await;
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await.database().await.drop().await.unwrap();
}
