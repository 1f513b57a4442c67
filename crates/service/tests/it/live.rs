//! The events of the live page: bounded however fast things go on, and however slow who looks; and they cost the database nothing.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bson::{Document, doc, oid::ObjectId};
use futures_util::{TryStreamExt, future::join_all};
use reqwest::Response;
use serde_json::Value;
use service::{MOST_VIEWERS, READ_INTERVAL, Timing};
use testbed::{Place, client, eventually, plant};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use crate::toy::Toy;

const LOOPBACK: &str = "127.0.0.1:0";

/// Whoever looks.
pub(crate) struct Viewer {
    answer: Response,
    rest: String,
}

impl Viewer {
    pub(crate) async fn open(toy: &Toy, token: Option<&str>) -> Self {
        let mut request = client().get(toy.page("/live"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self {
            answer,
            rest: String::new(),
        }
    }

    /// `None` when the stream has ended.
    async fn next_or_end(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.rest.split_once("\n\n") {
                let (name, json) = message.split_once('\n').unwrap();
                let json = serde_json::from_str(json.strip_prefix("data: ").unwrap()).unwrap();
                let message = (name.strip_prefix("event: ").unwrap().to_owned(), json);
                self.rest = rest.to_owned();
                return Some(message);
            }
            let chunk = timeout(testbed::DEADLINE, self.answer.chunk())
                .await
                .unwrap();
            let chunk = chunk.unwrap()?;
            self.rest += std::str::from_utf8(&chunk).unwrap();
        }
    }

    pub(crate) async fn next(&mut self) -> (String, Value) {
        self.next_or_end().await.unwrap()
    }

    /// The first message of this name that is so.
    pub(crate) async fn until(&mut self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        timeout(testbed::DEADLINE, async {
            loop {
                let (told, json) = self.next().await;
                if told == name && is_so(&json) {
                    return json;
                }
            }
        })
        .await
        .unwrap()
    }
}

async fn create_for(toy: &Toy, time: Duration) -> usize {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        count += join_all((0..8).map(|_| toy.create())).await.len();
    }
    count
}

#[tokio::test]
async fn a_viewer_gets_a_few_messages_a_second_however_fast_events_come() {
    let toy = Toy::with_page(Place::shared(), Timing::default(), LOOPBACK, None).await;
    let mut viewer = Viewer::open(&toy, None).await;
    let time = Duration::from_secs(4);
    let look = async {
        let (began, mut messages) = (Instant::now(), Vec::new());
        while began.elapsed() < time {
            messages.push(viewer.next().await);
        }
        messages
    };
    let (created, messages) = tokio::join!(create_for(&toy, time), look);
    // Four of those and one of figures a second, and those at the beginning.
    let most = 5 * 5 + 4;
    assert!(
        messages.len() <= most,
        "{} messages of {created} events",
        messages.len()
    );
    let outcomes = messages.iter().filter(|(name, _)| name == "outcomes");
    let numbers: Vec<_> = outcomes
        .map(|(_, it)| it["events"].as_array().unwrap().len())
        .collect();
    assert!(
        numbers.len() > 4 && numbers.iter().all(|number| *number <= 50),
        "{numbers:?}"
    );
    // One more, since all may have been told already.
    toy.create().await;
    let last = viewer.until("outcomes", |it| {
        it["events"]
            .as_array()
            .is_some_and(|it| it.iter().all(|it| it["sent"] == "YES"))
    });
    let last = last.await;
    assert!(
        last["events"].as_array().unwrap().len() == 50.min(created + 1),
        "{created} events"
    );
    let is_published = |it: &Value| it["outbox"]["publisher"].is_object();
    let rate = viewer.until("figures", is_published).await;
    assert!(
        rate["point"]["published"].is_u64() && rate["outbox"]["publisher"]["since"].is_string(),
        "{rate}"
    );
    assert_eq!(rate["outbox"]["publisher"]["instance"], rate["instance"]);
    drop(viewer);
    toy.finish().await;
}

#[tokio::test]
async fn an_event_turns_from_no_to_yes_before_the_viewers_eyes() {
    let toy = Toy::with_page(Place::shared(), Timing::default(), LOOPBACK, None).await;
    let mut viewer = Viewer::open(&toy, None).await;
    toy.create().await;
    let event = |it: &Value, sent: &str| it["events"][0]["sent"] == sent;
    viewer.until("outcomes", |it| event(it, "NO")).await;
    let turned = viewer.until("outcomes", |it| event(it, "YES")).await;
    assert!(turned["events"][0]["tookMs"].is_i64());
    drop(viewer);
    toy.finish().await;
}

#[tokio::test]
async fn more_viewers_than_there_is_room_for_are_told_to_come_again() {
    let toy = Toy::with_page(Place::shared(), Timing::default(), LOOPBACK, None).await;
    let viewers = (0..MOST_VIEWERS).map(|_| Viewer::open(&toy, None));
    let mut viewers = join_all(viewers).await;
    let one_more = async || client().get(toy.page("/live")).send().await.unwrap();
    let refused = one_more().await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["retry-after"]),
        (503, &"10".parse().unwrap())
    );
    for viewer in &mut viewers {
        viewer.until("figures", |_| true).await;
    }
    viewers.pop();
    eventually("there is room for another", async || {
        one_more().await.status() == 200
    })
    .await;
    drop(viewers);
    toy.finish().await;
}

/// Whoever looks, and reads nothing.
pub(crate) async fn look_away(toy: &Toy, token: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4 * 1024).unwrap();
    let address = ([127, 0, 0, 1], toy.admin.unwrap().port()).into();
    let mut stream = socket.connect(address).await.unwrap();
    let request =
        format!("GET /live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn a_stop_is_told_to_viewers_and_does_not_wait_for_them() {
    let toy = Toy::with_page(Place::shared(), Timing::default(), LOOPBACK, None).await;
    toy.create().await;
    toy.place.drained().await;
    let mut viewer = Viewer::open(&toy, None).await;
    let _away = look_away(&toy, "").await;
    viewer.until("figures", |_| true).await;
    let began = Instant::now();
    toy.ask_to_stop();
    viewer.until("stopping", |_| true).await;
    assert!(viewer.next_or_end().await.is_none());
    let place = toy.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    place.remove().await;
}

/// What MongoDB is asked within two readings of the figures, and how often: collection and command.
async fn questions(toy: &Toy) -> BTreeMap<String, usize> {
    let database = toy.place.database().await;
    database.run_command(doc! { "profile": 2 }).await.unwrap();
    sleep(READ_INTERVAL * 2).await;
    database.run_command(doc! { "profile": 0 }).await.unwrap();
    let profile = database.collection::<Document>("system.profile");
    let asked = profile.find(doc! { "command": { "$exists": true } }).await;
    let asked: Vec<Document> = asked.unwrap().try_collect().await.unwrap();
    let mut questions = BTreeMap::new();
    for question in asked {
        let command = question.get_document("command").unwrap().keys().next();
        let collection = question.get_str("ns").unwrap().rsplit('.').next().unwrap();
        let question = format!("{collection} {}", command.unwrap());
        *questions.entry(question).or_default() += 1;
    }
    questions
}

#[tokio::test]
async fn looking_asks_the_database_nothing_however_many_look_and_however_much_is_unsent() {
    const UNSENT: i64 = 20_000;
    const OF_FIGURES: [&str; 2] = ["events aggregate", "leases find"];
    const OF_THE_PUBLISHER: [&str; 8] = [
        "leases findAndModify",
        "events find",
        "events getMore",
        "events killCursors",
        "parked aggregate",
        "parked getMore",
        "parked killCursors",
        "profile profile",
    ];
    let toy = Toy::with_page(Place::shared(), Timing::default(), LOOPBACK, None).await;
    // Behind one that can't be published, so that they stay.
    let event = |version: i64| {
        let noun = if version == 0 { "other" } else { "counter" };
        doc! {
            "_id": ObjectId::new(), "type": "counter.created", "subject": format!("{noun}.created.a"),
            "key": "a", "version": version, "data": {}, "sent": "NO", "createdAt": bson::DateTime::now(),
        }
    };
    plant(&toy.place, (0..UNSENT).map(event)).await;
    eventually("it is parked", async || toy.place.parked().await.len() == 1).await;
    let mut viewers = join_all((0..MOST_VIEWERS).map(|_| Viewer::open(&toy, None))).await;
    let all = |it: &Value| it["outbox"]["unsent"] == UNSENT;
    viewers[0].until("figures", all).await;
    let mut questions = questions(&toy).await;
    for of_figures in OF_FIGURES {
        let count = questions.get(of_figures).copied().unwrap_or_default();
        assert!(count <= 3, "{of_figures}: {questions:?}");
    }
    questions.retain(|asked, _| !OF_FIGURES.contains(&&**asked));
    questions.retain(|asked, _| !OF_THE_PUBLISHER.contains(&&**asked));
    // What prepares looks now and then whether collections and indexes are there.
    questions
        .retain(|asked, _| !asked.ends_with("listIndexes") && !asked.ends_with("listCollections"));
    assert!(questions.is_empty(), "{questions:?}");
    drop(viewers);
    toy.stop().await.remove().await;
}
