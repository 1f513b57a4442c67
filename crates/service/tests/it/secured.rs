//! A MongoDB that speaks TLS only and asks who we are.

use bson::{Bson, doc};
use mongodb::Client;
use service::Timing;
use testbed::{Certificates, Mongo, Place, assert_problem, log::Log, nats_url};

use crate::toy::Toy;

#[tokio::test]
async fn a_mongodb_that_wants_tls_and_a_password_is_served_with_rights_on_one_database_only() {
    let certificates = Certificates::issue();
    let key_file = certificates.write("replica-set.key", "bm90IGEgc2VjcmV0IG9mIGFueWJvZHk=");
    let mut mongo = Mongo::absent();
    mongo.args.extend([
        "--tlsMode".into(),
        "requireTLS".into(),
        "--tlsCertificateKeyFile".into(),
        certificates.path("both.pem").into(),
        "--tlsCAFile".into(),
        certificates.path("ca.pem").into(),
        "--tlsAllowConnectionsWithoutCertificates".into(),
        "--keyFile".into(),
        key_file.into(),
    ]);
    mongo.options = format!(
        "&tls=true&tlsCAFile={}",
        certificates.path("ca.pem").display()
    );
    mongo.start().await;
    let admin = Client::with_uri_str(mongo.uri())
        .await
        .unwrap()
        .database("admin");
    // The first user may be made by anybody on this machine; the service's may do nothing outside of its database.
    let user =
        |name: &str, roles: Vec<Bson>| doc! { "createUser": name, "pwd": "s3cret", "roles": roles };
    admin
        .run_command(user("root", vec!["root".into()]))
        .await
        .unwrap();

    let (log, guard) = Log::capture();
    let stranger = Place::at(&mongo.uri(), &nats_url());
    let stranger = Toy::begin_with_counters(stranger, Timing::default()).await;
    for _ in 0..3 {
        assert_problem(stranger.post().await, 503).await;
    }
    stranger.stop().await;
    // No login can end it, so none is waited for.
    assert!(log.lines_with("MongoDB lets us in again").is_empty());
    drop(guard);

    mongo.options += "&authSource=admin";
    mongo.login = "root:s3cret@".to_owned();
    let root = Client::with_uri_str(mongo.uri()).await.unwrap();
    mongo.login = "service:s3cret@".to_owned();
    let place = Place::at(&mongo.uri(), &nats_url());
    let roles =
        ["readWrite", "dbAdmin"].map(|role| doc! { "role": role, "db": &place.name }.into());
    let admin = root.database("admin");
    admin
        .run_command(user("service", roles.to_vec()))
        .await
        .unwrap();
    let toy = Toy::of_counters(place, Timing::default()).await;
    toy.create().await;
    toy.place.drained().await;
    toy.stop().await;
}
