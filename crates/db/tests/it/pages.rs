//! Pages: what each holds, and what can't be read of one.

use bson::{DateTime, Document, doc};
use db::Page;
use testbed::Place;

use crate::database::prepared;

#[tokio::test]
async fn a_page_holds_only_what_its_filter_accepts_whatever_the_filter_names() {
    let place = Place::shared();
    let db = prepared(&place).await;
    let notes = db.collection::<Document>("notes");
    let of_one_moment = DateTime::now();
    let all = (0..6).map(|number| doc! { "number": number, "createdAt": of_one_moment });
    notes.insert_many(all).await.unwrap();
    let even: Vec<Document> = [0, 2, 4].map(|number| doc! { "number": number }).into();
    let filter = doc! { "$or": even, "createdAt": { "$lte": of_one_moment } };
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = Page { limit: 1, after };
        let (page, next) = db
            .page::<Document>("notes", filter.clone(), page)
            .await
            .unwrap();
        found.extend(page.iter().map(|note| note.get_i32("number").unwrap()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [4, 2, 0]);
    place.remove().await;
}

/// Notes of one moment each, the newest last.
async fn insert_notes(place: &Place, count: i64) {
    let notes = place.database().await.collection::<Document>("notes");
    let all = (0..count)
        .map(|number| doc! { "number": number, "createdAt": DateTime::from_millis(number) });
    notes.insert_many(all).await.unwrap();
}

#[tokio::test]
async fn one_document_that_cannot_be_read_is_left_out_of_its_page_and_of_no_other() {
    #[derive(serde::Deserialize)]
    struct Note {
        number: i64,
    }
    let place = Place::shared();
    let db = prepared(&place).await;
    insert_notes(&place, 5).await;
    let notes = db.collection::<Document>("notes");
    for (number, set) in [
        (3, doc! { "number": "three" }),
        (1, doc! { "createdAt": "yesterday" }),
    ] {
        let one = notes.update_one(doc! { "number": number }, doc! { "$set": set });
        one.await.unwrap();
    }
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = Page { limit: 2, after };
        let (page, next) = db.page::<Note>("notes", doc! {}, page).await.unwrap();
        pages.push(page.iter().map(|note| note.number).collect::<Vec<_>>());
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![4], vec![2, 0]]);
    place.remove().await;
}

#[tokio::test]
async fn a_page_of_the_longest_size_comes_with_the_servers_first_answer() {
    const LONGEST: u16 = 200;
    let place = Place::shared();
    let db = prepared(&place).await;
    insert_notes(&place, i64::from(LONGEST) + 50).await;
    let profile = place.database().await;
    profile.run_command(doc! { "profile": 2 }).await.unwrap();
    let page = Page {
        limit: LONGEST,
        after: None,
    };
    let (page, _) = db.page::<Document>("notes", doc! {}, page).await.unwrap();
    assert_eq!(page.len(), usize::from(LONGEST));
    profile.run_command(doc! { "profile": 0 }).await.unwrap();
    let profiled = profile.collection::<Document>("system.profile");
    let asked = |op: &str| {
        profiled.count_documents(doc! { "op": op, "ns": format!("{}.notes", place.name) })
    };
    assert_eq!(
        (
            asked("query").await.unwrap(),
            asked("getmore").await.unwrap()
        ),
        (1, 0)
    );
    place.remove().await;
}
