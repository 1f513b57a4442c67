use db::MongoOptions;
use secrecy::SecretString;

use super::*;
use crate::stored::Stored;

const SECOND: Duration = Duration::from_secs(1);

fn named(count: usize) -> GaveUp {
    let mut gave_up = GaveUp::default();
    gave_up.add((0..count).map(|number| Stored::from(&*number.to_string())));
    gave_up
}

/// Of a database that is not there.
pub(crate) async fn lease(valid_until: Instant, named: Option<Instant>) -> Lease {
    let mongo_uri = SecretString::from("mongodb://127.0.0.1:1/none");
    let db = Db::connect(&MongoOptions { mongo_uri }, "shop", db::Timing::default()).await;
    Lease {
        db: db.unwrap(),
        timing: Timing::default(),
        instance_id: ObjectId::new(),
        valid_until: watch::Sender::new(valid_until),
        waiter_named: watch::Sender::new(named),
        lost: CancellationToken::new(),
        released: CancellationToken::new(),
    }
}

#[test]
fn a_hundred_keys_are_named_and_more_are_all() {
    let gave_up = named(100);
    assert!(gave_up.contains(&Stored::from("99")));
    assert!(!gave_up.contains(&Stored::from("100")));
    assert!(named(101).contains(&Stored::from("another")));
}

#[test]
fn what_was_given_up_is_stored_with_the_lease_and_read_from_it() {
    for gave_up in [GaveUp::default(), named(3), named(101)] {
        let lease = doc! { "gaveUp": gave_up.document() };
        assert_eq!(GaveUp::of(&lease), gave_up);
    }
    assert_eq!(GaveUp::of(&doc! {}), GaveUp::default());
}

#[test]
fn what_was_given_up_before_a_holder_that_crashed_counts_no_more() {
    let left = |by: i64| {
        let mut gave_up = named(3).document();
        gave_up.insert("fence", by);
        gave_up
    };
    for (by, counts) in [(7_i64, true), (6, true), (5, false), (1, false)] {
        let lease = doc! { "fence": 7_i64, "gaveUp": left(by) };
        assert_eq!(GaveUp::of(&lease) == named(3), counts, "{by}");
    }
}

#[tokio::test]
async fn a_lease_is_valid_until_its_end_or_until_it_is_lost() {
    let end = Instant::now() + SECOND;
    let lease = lease(end, None).await;
    assert!(lease.is_valid(end - SECOND));
    assert!(!lease.is_valid(end));
    assert!(!lease.is_valid(end + SECOND));
    lease.lost.cancel();
    assert!(!lease.is_valid(end - SECOND));
}

#[test]
fn a_holder_counts_from_before_it_asked_and_stops_the_margin_before_the_term_ends() {
    let asked = Instant::now();
    let timing = Timing {
        lease_term: 3 * SECOND,
        lease_margin: SECOND,
        ..Timing::default()
    };
    assert_eq!(valid_until(asked, timing), asked + 2 * SECOND);
}

#[tokio::test]
async fn only_a_name_that_was_left_after_the_trouble_began_says_that_somebody_waits() {
    let began = Instant::now();
    assert!(!lease(began, None).await.somebody_waits_since(began));
    assert!(!lease(began, Some(began)).await.somebody_waits_since(began));
    let later = lease(began, Some(began + SECOND)).await;
    assert!(later.somebody_waits_since(began));
    assert!(!later.somebody_waits_since(began + 2 * SECOND));
}

#[test]
fn a_name_counts_for_so_long_by_the_servers_clock() {
    let timing = Timing::default();
    let renewed = 1_000_000;
    let age = |left: i64| {
        let expires = DateTime::from_millis(renewed + 3_000);
        let at = DateTime::from_millis(left);
        age_of_name(
            &doc! { "expiresAt": expires, "waiting": { "at": at } },
            timing,
        )
    };
    assert_eq!(age(renewed - 2_000), Some(2 * SECOND));
    assert_eq!(age(renewed - 5_000), Some(5 * SECOND));
    assert_eq!(age(renewed - 5_001), None);
    // Another primary's clock was ahead.
    assert_eq!(age(renewed + 1_000), Some(SECOND));
    assert_eq!(age(renewed + 6_000), None);
    assert_eq!(age_of_name(&doc! {}, timing), None);
}

#[test]
fn a_process_is_named_by_its_host_and_its_number() {
    let name = instance();
    let (host, number) = name.rsplit_once('/').unwrap();
    assert!(!host.is_empty());
    assert_eq!(number, std::process::id().to_string());
}
