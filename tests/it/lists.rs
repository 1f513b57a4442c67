//! The list of tickets: its order, its pages, and what a page costs.

use bson::{DateTime, Document, doc, oid::ObjectId};
use mongodb::{Collection, Database};
use reqwest::Response;
use serde_json::Value;

use crate::harness::TestApp;
use testbed::text;

/// The path in the `Link` header, where there is one.
fn next(page: &Response) -> Option<String> {
    let link = page.headers().get("link")?.to_str().unwrap();
    let path = link.strip_prefix('<').unwrap();
    Some(path.strip_suffix(">; rel=\"next\"").unwrap().to_owned())
}

async fn ids(page: Response) -> Vec<String> {
    let tickets: Vec<Value> = page.json().await.unwrap();
    tickets.iter().map(|ticket| text(&ticket["id"])).collect()
}

/// The ids of all pages, from that of `path` on.
async fn all_ids(app: &TestApp, path: &str) -> Vec<String> {
    let (mut listed, mut path) = (Vec::new(), Some(path.to_owned()));
    while let Some(page) = path {
        let page = app.get(&page).await;
        path = next(&page);
        listed.extend(ids(page).await);
    }
    listed
}

/// Saves tickets without their events; their ids, the newest first.
async fn plant(database: &Database, created_at: &[DateTime], order: Option<&str>) -> Vec<String> {
    let ticket = |created_at: &DateTime| {
        doc! {
            "_id": ObjectId::new(), "title": "concert", "priceCents": 100_i64, "userId": "alice", "orderId": order,
            "version": 0_i64, "createdAt": created_at, "updatedAt": created_at,
        }
    };
    let tickets: Vec<Document> = created_at.iter().map(ticket).collect();
    let collection: Collection<Document> = database.collection("tickets");
    collection.insert_many(&tickets).await.unwrap();
    let id = |ticket: &Document| ticket.get_object_id("_id").unwrap().to_hex();
    tickets.iter().rev().map(id).collect()
}

/// A millisecond each.
fn moments(range: std::ops::Range<i64>) -> Vec<DateTime> {
    range.map(DateTime::from_millis).collect()
}

#[tokio::test]
async fn pages_follow_each_other_newest_first_and_leave_nothing_out() {
    let app = TestApp::start().await;
    let mut created = Vec::new();
    for _ in 0..7 {
        created.push(app.create().await);
    }
    created.reverse();
    assert_eq!(all_ids(&app, "/api/tickets?limit=3").await, created);
    assert_eq!(next(&app.get("/api/tickets?limit=7").await), None);
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=", "cursor"),
    ] {
        let refused = app.get(&format!("/api/tickets?{query}")).await;
        assert_eq!(refused.status(), 400, "{query}");
        let problem: Value = refused.json().await.unwrap();
        assert_eq!(problem["errors"][0]["field"], field);
    }
    app.finish().await;
}

#[tokio::test]
async fn tickets_of_one_moment_that_lie_on_two_pages_are_listed_once_each() {
    let app = TestApp::start().await;
    let database = app.place.database().await;
    let moment = DateTime::from_millis(1);
    let planted = plant(&database, &[moment; 5], None).await;
    assert_eq!(all_ids(&app, "/api/tickets?limit=2").await, planted);
    app.finish().await;
}

#[tokio::test]
async fn a_page_holds_fifty_tickets_and_two_hundred_at_most() {
    let app = TestApp::start().await;
    let database = app.place.database().await;
    plant(&database, &moments(0..201), None).await;
    let page = app.get("/api/tickets").await;
    assert!(next(&page).unwrap().contains("limit=50&"));
    assert_eq!(ids(page).await.len(), 50);
    let page = app.get("/api/tickets?limit=200").await;
    assert_eq!(ids(page).await.len(), 200);
    app.finish().await;
}

#[tokio::test]
async fn a_page_costs_its_own_tickets_and_neither_what_is_reserved_nor_what_is_older() {
    const LIMIT: i32 = 10;
    let app = TestApp::start().await;
    let database = app.place.database().await;
    plant(&database, &moments(0..500), None).await;
    let deep = app.get("/api/tickets?limit=200").await;
    plant(&database, &moments(500..1_000), Some("order")).await;
    let second = next(&deep).unwrap().replace("limit=200", "limit=10");
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    for path in ["/api/tickets?limit=10", &second] {
        assert_eq!(ids(app.get(path).await).await.len(), 10);
    }
    let place = &app.place;
    place.pages_cost_what_they_show("tickets", 2, LIMIT).await;
    app.finish().await;
}

#[tokio::test]
async fn a_ticket_as_an_express_service_stored_it_is_left_out_and_keeps_no_other_from_the_list() {
    let app = TestApp::start().await;
    let ours = app.create().await;
    let theirs =
        doc! { "title": "concert", "price": 20, "userId": "65f0a1b2c3d4e5f60718293a", "__v": 0 };
    let tickets: Collection<Document> = app.place.database().await.collection("tickets");
    let planted = tickets.insert_one(theirs).await.unwrap().inserted_id;
    assert_eq!(all_ids(&app, "/api/tickets?limit=1").await, [ours]);
    let theirs = planted.as_object_id().unwrap();
    let read = app.get(&format!("/api/tickets/{theirs}")).await;
    // It is there, and can't be told.
    assert_eq!(read.status(), 500);
    app.finish().await;
}
