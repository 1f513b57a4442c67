//! The service as a process of its own, or as several, with a database, a stream of its own, and a stream of tickets.

use std::{
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use bson::{Document, doc, oid::ObjectId};
use db::setting;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};
use testbed::{Place, Process, eventually, now_seconds, start, text};
use web::{JwtOptions, sign};

use crate::published::{Ticket, Tickets, stream_of};

pub(crate) const JWT_KEY: &str = "a key of thirty-two bytes or more";

/// The service, running: one instance, or several on one database, which are asked in turn.
pub(crate) struct App {
    pub(crate) place: Place,
    pub(crate) tickets: Tickets,
    addresses: Vec<String>,
    asked: AtomicUsize,
    _processes: Vec<Process>,
}

impl App {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts it with other settings, and waits until it takes orders.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_instances(1, settings).await
    }

    /// Starts so many instances of it.
    pub(crate) async fn start_instances(count: usize, settings: &[(&str, &str)]) -> Self {
        let place = Place::shared();
        let tickets = Tickets::at(&place).await;
        let (mut addresses, mut processes) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let mut command = command(&place);
            command.envs(settings.iter().copied());
            let (process, address) = start(&mut command).await;
            addresses.push(address);
            processes.push(process);
        }
        Self {
            place,
            tickets,
            addresses,
            asked: AtomicUsize::new(0),
            _processes: processes,
        }
    }

    /// That of the instance whose turn it is.
    pub(crate) fn address(&self) -> &str {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        &self.addresses[turn % self.addresses.len()]
    }

    pub(crate) fn request(&self, method: Method, path: &str, user: &str) -> RequestBuilder {
        let request = testbed::client().request(method, format!("{}{path}", self.address()));
        request.bearer_auth(token(user))
    }

    pub(crate) async fn get(&self, path: &str, user: &str) -> Response {
        let request = self.request(Method::GET, path, user);
        request.send().await.unwrap()
    }

    pub(crate) async fn order(&self, user: &str, ticket: &Ticket) -> Response {
        self.post(user, json!({ "ticketId": ticket.id })).await
    }

    pub(crate) async fn post(&self, user: &str, body: Value) -> Response {
        let request = self.request(Method::POST, "/api/orders", user);
        request.json(&body).send().await.unwrap()
    }

    /// An order of this ticket; its id.
    pub(crate) async fn ordered(&self, user: &str, ticket: &Ticket) -> String {
        let created = self.order(user, ticket).await;
        assert_eq!(created.status(), 201);
        text(&created.json::<Value>().await.unwrap()["id"])
    }

    pub(crate) async fn cancel(&self, user: &str, id: &str) -> Response {
        let request = self.request(Method::DELETE, &format!("/api/orders/{id}"), user);
        request.send().await.unwrap()
    }

    /// A ticket that is known here.
    pub(crate) async fn ticket(&self) -> Ticket {
        let ticket = Ticket::new();
        self.hears_of(&ticket).await;
        ticket
    }

    /// Publishes it, and waits until the replica has it.
    pub(crate) async fn hears_of(&self, ticket: &Ticket) {
        self.tickets.publish(ticket).await;
        eventually("the replica has the ticket", async || {
            let known = self.known(&ticket.id).await;
            known.is_some_and(|known| known.get_i64("version").unwrap() == ticket.version)
        })
        .await;
    }

    /// What the replica has of a ticket.
    pub(crate) async fn known(&self, id: &str) -> Option<Document> {
        let tickets = self.place.database().await.collection("tickets");
        let id = ObjectId::parse_str(id).unwrap();
        tickets.find_one(doc! { "_id": id }).await.unwrap()
    }

    pub(crate) async fn count(&self, collection: &str) -> u64 {
        let documents = self
            .place
            .database()
            .await
            .collection::<Document>(collection);
        documents.count_documents(doc! {}).await.unwrap()
    }

    /// Every test's last step: nothing is left unsent, and the data goes.
    pub(crate) async fn finish(self) {
        self.place.drained().await;
        let Self { place, tickets, .. } = self;
        tickets.remove(&place).await;
        place.remove().await;
    }
}

pub(crate) fn command(place: &Place) -> Command {
    let mut command = place.command(env!("CARGO_BIN_EXE_orders"), JWT_KEY);
    command.env("TICKETS_STREAM", stream_of(place));
    command
}

pub(crate) fn token(user: &str) -> String {
    let jwt: JwtOptions = setting::options([format!("--jwt-key={JWT_KEY}")]).unwrap();
    sign(&jwt, user, None, now_seconds(), 600).unwrap()
}
