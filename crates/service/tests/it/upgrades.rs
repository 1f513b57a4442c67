//! Whose database it is.

use std::time::Duration;

use bson::{Document, doc};
use service::Timing;
use testbed::{DEADLINE, Place};
use tokio::time::timeout;

use crate::toy::Toy;

#[tokio::test]
async fn a_database_that_is_nobodys_becomes_the_services_at_its_first_start() {
    let toy = Toy::of_counters(Place::shared(), Timing::default()).await;
    let leases = toy.place.database().await.collection::<Document>("leases");
    let owner = leases.find_one(doc! { "_id": "service" }).await.unwrap();
    assert_eq!(owner.unwrap().get_str("name").unwrap(), "toy");
    toy.finish().await;
}

#[tokio::test]
async fn a_service_whose_database_becomes_anothers_ends_and_says_whose() {
    let timing = Timing {
        prepare_interval: Duration::from_millis(100),
        ..Timing::default()
    };
    let toy = Toy::of_counters(Place::shared(), timing).await;
    let leases = toy.place.database().await.collection::<Document>("leases");
    let of_another = doc! { "$set": { "name": "other" } };
    let owner = leases.update_one(doc! { "_id": "service" }, of_another);
    assert_eq!(owner.await.unwrap().modified_count, 1);
    let ended = timeout(DEADLINE, toy.running).await.unwrap().unwrap();
    let told = format!("{:#}", ended.unwrap_err());
    let names = format!(
        "{} belongs to the service other, and this is toy",
        toy.place.name
    );
    assert!(told.contains(&names), "{told}");
    toy.place.remove().await;
}
