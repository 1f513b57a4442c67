//! Why MongoDB can't be used: the log and the error name the address and the cause, and what mends it.

use std::time::Duration;

use bson::{Document, doc};
use db::{Db, MongoOptions, Timing, cause};
use mongodb::{Client, IndexModel, options::IndexOptions};
use testbed::{Certificates, Mongo, Place, eventually};

use crate::log::Log;

/// What readiness tells of it; the log's line says the same.
async fn told_of(uri: &str) -> String {
    let (log, _guard) = Log::capture();
    let timing = Timing {
        server_selection: Duration::from_millis(700),
        ..Timing::default()
    };
    let mongo_uri = uri.into();
    let db = Db::connect(&MongoOptions { mongo_uri }, "test", timing).await;
    let db = db.unwrap();
    let told = db.check(Duration::from_secs(5)).await.unwrap_err();
    let told = told.strip_prefix("MongoDB is down: ").unwrap().to_owned();
    let cause = told.split_once(": ").unwrap().1;
    let cause = cause.split(" (").next().unwrap();
    let line = log.told("a server of MongoDB cannot be used").await;
    assert!(line.contains(cause), "{line} does not say: {cause}");
    told
}

async fn prepared(uri: &str) -> Db {
    let mongo_uri = uri.into();
    let db = Db::connect(&MongoOptions { mongo_uri }, "test", Timing::default()).await;
    let db = db.unwrap();
    db.mark_prepared();
    db
}

fn with_tls(certificates: &Certificates) -> Mongo {
    let mut mongo = Mongo::absent();
    let files = [
        ("--tlsCertificateKeyFile", "both.pem"),
        ("--tlsCAFile", "ca.pem"),
    ];
    mongo.args.extend(["--tlsMode".into(), "requireTLS".into()]);
    for (option, file) in files {
        mongo
            .args
            .extend([option.into(), certificates.path(file).into()]);
    }
    mongo
        .args
        .push("--tlsAllowConnectionsWithoutCertificates".into());
    mongo.options = format!(
        "&tls=true&tlsCAFile={}",
        certificates.path("ca.pem").display()
    );
    mongo
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_its_address() {
    let mongo = Mongo::absent();
    let told = told_of(&mongo.uri()).await;
    assert!(told.starts_with(&format!("{}: ", mongo.hosts[0])), "{told}");
    assert!(told.contains("refused"), "{told}");
    let told = told_of("mongodb://user:s3cret@mongo.invalid/?replicaSet=rs0").await;
    assert!(
        told.starts_with("mongo.invalid:27017: its name is not found"),
        "{told}"
    );
}

#[tokio::test]
async fn a_wrong_name_of_the_replica_set_is_told_with_the_one_that_the_server_has() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let wrong = mongo.uri().replace("replicaSet=rs0", "replicaSet=other");
    let told = told_of(&wrong).await;
    let host = &mongo.hosts[0];
    let wanted =
        format!("{host}: it is of the replica set rs0, and MONGO_URI says replicaSet=other");
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_name_is_told_as_that() {
    let certificates = Certificates::issue();
    let mut mongo = with_tls(&certificates);
    mongo.start().await;
    let host = mongo.hosts[0].clone();
    let other = Certificates::issue();
    for trusted in [
        "&tls=true".to_owned(),
        format!("&tls=true&tlsCAFile={}", other.path("ca.pem").display()),
    ] {
        let ours = std::mem::replace(&mut mongo.options, trusted);
        let told = told_of(&mongo.uri()).await;
        assert!(
            told.starts_with(&format!("{host}: no authority that is trusted")),
            "{told}"
        );
        assert!(told.contains("tlsCAFile"), "{told}");
        mongo.options = ours;
    }
    let by_name = mongo.uri().replace("127.0.0.1", "localhost");
    let told = told_of(&by_name).await;
    assert!(
        told.contains("its certificate is for another name"),
        "{told}"
    );

    mongo.options.clear();
    let told = told_of(&mongo.uri()).await;
    assert!(
        told.starts_with(&format!("{host}: it ends the connection: it may want TLS")),
        "{told}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_as_that() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    mongo.options = "&tls=true".to_owned();
    let told = told_of(&mongo.uri()).await;
    assert!(told.starts_with(&mongo.hosts[0]), "{told}");
    assert!(
        told.contains("not speak TLS, see tls of MONGO_URI"),
        "{told}"
    );
}

#[tokio::test]
async fn a_user_that_is_refused_and_a_right_that_is_missing_are_told_with_the_address() {
    let certificates = Certificates::issue();
    let key_file = certificates.write("replica-set.key", "bm90IGEgc2VjcmV0IG9mIGFueWJvZHk=");
    let mut mongo = Mongo::absent();
    mongo.args.extend(["--keyFile".into(), key_file.into()]);
    mongo.start().await;
    let admin = Client::with_uri_str(mongo.uri())
        .await
        .unwrap()
        .database("admin");
    let root = doc! { "createUser": "root", "pwd": "s3cret", "roles": ["root"] };
    admin.run_command(root).await.unwrap();
    let explained = async |login: &str| {
        let mongo_uri = mongo.uri().replace("//", &format!("//{login}")).into();
        let db = Db::connect(&MongoOptions { mongo_uri }, "test", Timing::default()).await;
        let db = db.unwrap();
        let error = db
            .collection::<Document>("things")
            .count_documents(doc! {})
            .await;
        db.explain(&error.unwrap_err())
    };
    let host = &mongo.hosts[0];
    let told = explained("root:wrong@").await;
    assert!(
        told.starts_with("authentication at MongoDB failed: "),
        "{told}"
    );
    assert!(told.ends_with(&format!("({host})")), "{told}");
    let told = explained("").await;
    assert!(told.contains("requires authentication"), "{told}");
    assert!(told.ends_with(&format!("({host})")), "{told}");
}

#[tokio::test]
async fn a_server_that_comes_back_is_told_once_and_one_that_was_never_away_is_not() {
    let mut mongo = Mongo::absent();
    let (log, _guard) = Log::capture();
    let db = prepared(&mongo.uri()).await;
    log.told("cannot be used").await;
    mongo.start().await;
    let is_well = async |db: &Db| {
        eventually("it answers", async || {
            db.check(Duration::from_secs(5)).await.is_ok()
        })
        .await;
    };
    is_well(&db).await;
    is_well(&prepared(&mongo.uri()).await).await;
    let lines = log.lines_with("can be used again");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(&mongo.hosts[0]), "{lines:#?}");
}

#[tokio::test]
async fn what_was_to_be_stored_is_not_told_where_mongodb_refuses_it_and_quotes_it() {
    const STORED: &str = "a secret of alice";
    let place = Place::shared();
    let db = prepared(&place.mongo_uri).await;
    let unique = IndexOptions::builder().unique(true).build();
    let by_text = IndexModel::builder().keys(doc! { "text": 1 });
    let by_text = by_text.options(unique).build();
    db.ensure_collection("notes", [by_text]).await.unwrap();
    let notes = db.collection::<Document>("notes");
    let note = doc! { "text": STORED };
    let another = doc! { "text": "another" };
    notes.insert_many([&note, &another]).await.unwrap();
    let inserted = notes.insert_one(&note).await.unwrap_err();
    let changed = notes.find_one_and_update(another, doc! { "$set": note });
    let changed = changed.await.unwrap_err();
    for (error, told) in [
        (inserted, "MongoDB refuses: error 11000"),
        (changed, "MongoDB refuses: DuplicateKey (11000)"),
    ] {
        assert!(error.to_string().contains(STORED), "{error}");
        assert_eq!(cause(&error), told);
    }
    place.remove().await;
}
