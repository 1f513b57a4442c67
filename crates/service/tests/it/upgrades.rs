//! Whose database it is.

use bson::{Document, doc};
use service::Timing;
use testbed::Place;

use crate::toy::Toy;

#[tokio::test]
async fn a_database_that_is_nobodys_becomes_the_services_at_its_first_start() {
    let toy = Toy::of_counters(Place::shared(), Timing::default()).await;
    let leases = toy.place.database().await.collection::<Document>("leases");
    let owner = leases.find_one(doc! { "_id": "service" }).await.unwrap();
    assert_eq!(owner.unwrap().get_str("name").unwrap(), "toy");
    toy.finish().await;
}
