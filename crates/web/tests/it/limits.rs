//! What is refused: too much, and too slow.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    routing::{get, post},
};
use bson::doc;
use futures_util::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use reqwest::Method;
use testbed::{DEADLINE, Mongo, Place, assert_problem, eventually, nats_url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use web::{BODY_LIMIT_BYTES, Closing, Timing, serve};

use crate::toy::{Toy, stacked, token};

#[tokio::test]
async fn one_user_or_address_over_the_rate_is_429_and_others_are_not() {
    let app = Toy::start_with(|http| http.rate_limit = 2).await;
    let list = |user: &str| {
        app.request(Method::GET, "/api/notes")
            .bearer_auth(token(user))
            .send()
    };
    let first = list("alice").await.unwrap();
    assert_eq!(first.headers()["ratelimit-policy"], "\"caller\";q=4;w=2");
    assert_eq!(first.headers()["ratelimit"], "\"caller\";r=3;t=1");
    // Four at once, and two more each second that this takes.
    let refused = loop {
        let answer = list("alice").await.unwrap();
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.headers()["ratelimit"], "\"caller\";r=0;t=2");
    assert_problem(refused, 429).await;
    assert_eq!(list("bob").await.unwrap().status(), 200);
    // Without a user it is the address that is counted, whatever a header says of it.
    let from = |address: [u8; 4], forwarded: u8| {
        let client = reqwest::Client::builder().local_address(IpAddr::from(address));
        let list = client
            .build()
            .unwrap()
            .get(format!("{}/api/notes", app.address));
        list.header("x-forwarded-for", format!("10.0.0.{forwarded}"))
            .send()
    };
    let statuses = (0..8).map(|forwarded| from([127, 0, 0, 1], forwarded));
    let statuses = futures_util::future::join_all(statuses).await;
    assert!(
        statuses
            .iter()
            .any(|answer| answer.as_ref().unwrap().status() == 429)
    );
    assert_eq!(from([127, 0, 0, 2], 0).await.unwrap().status(), 200);
    // Health is not counted.
    assert_eq!(app.get("/health/live").await.status(), 200);
    app.finish().await;
}

#[tokio::test]
async fn above_the_concurrency_limit_requests_are_refused_at_once() {
    let mut mongo = Mongo::absent();
    mongo.start().await;
    let place = Place::at(&mongo.uri(), &nats_url());
    let app = Toy::start_at(place, |http| http.concurrency_limit = 1).await;
    let admin = app.place.database().await.client().database("admin");
    let hold = doc! {
        "configureFailPoint": "failCommand", "mode": "alwaysOn",
        "data": { "failCommands": ["find"], "appName": &app.place.name, "namespace": format!("{}.notes", app.place.name), "blockConnection": true, "blockTimeMS": 2000 },
    };
    admin.run_command(hold).await.unwrap();
    let lists = [app.get("/api/notes"), app.get("/api/notes")];
    let mut answers: FuturesUnordered<_> = lists.into_iter().collect();
    // The one that is refused does not wait for the other.
    let refused = answers.next().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "2");
    let refused = assert_problem(refused, 503).await;
    let message = refused["errors"][0]["message"].to_string();
    assert!(
        message.contains("nothing of this one was done"),
        "{message}"
    );
    assert_eq!(answers.next().await.unwrap().status(), 200);
    drop(answers);
    app.finish().await;
}

/// Serves `routes` with their limits; its address.
async fn serve_here(routes: Router, timing: Timing) -> SocketAddr {
    let routes = stacked(routes, 1, timing);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, routes, timing, Closing::default()));
    address
}

pub(crate) async fn connect_and_send(address: SocketAddr, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    connection
}

/// What the service sends until it closes the connection.
pub(crate) async fn read_to_end(mut connection: TcpStream) -> String {
    let mut answer = String::new();
    let read = connection.read_to_string(&mut answer);
    timeout(DEADLINE, read).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn a_connection_that_sends_its_head_too_slowly_is_closed() {
    let timing = Timing {
        head: Duration::from_millis(100),
        ..Timing::default()
    };
    let address = serve_here(Router::new().route("/", get(async || "fine")), timing).await;
    let slow = connect_and_send(address, "GET / HTTP/1.1\r\nhost: x\r\n").await;
    assert_eq!(read_to_end(slow).await, "");
    // And one that was in time before.
    let mut slow = connect_and_send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = [0; 1024];
    let read = slow.read(&mut answer).await.unwrap();
    assert!(answer[..read].ends_with(b"fine"));
    slow.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    assert_eq!(read_to_end(slow).await, "");
}

#[tokio::test]
async fn a_connection_that_is_idle_after_its_request_is_closed() {
    let timing = Timing {
        idle: Duration::from_millis(100),
        ..Timing::default()
    };
    let address = serve_here(Router::new().route("/", get(async || "fine")), timing).await;
    let idle = connect_and_send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(read_to_end(idle).await.ends_with("fine"));
}

#[tokio::test]
async fn a_body_of_64_kib_is_taken_and_a_byte_more_is_413() {
    let app = Toy::start().await;
    let post = async |length: usize| {
        let (head, tail) = ("{\"text\":\"concert\"", "}");
        let blanks = " ".repeat(length - head.len() - tail.len());
        let post = app.request(Method::POST, "/api/notes");
        let post = post.bearer_auth(token("alice"));
        let post = post.header("content-type", "application/json");
        post.body(format!("{head}{blanks}{tail}"))
            .send()
            .await
            .unwrap()
    };
    assert_eq!(post(BODY_LIMIT_BYTES).await.status(), 201);
    assert_problem(post(BODY_LIMIT_BYTES + 1).await, 413).await;
    app.finish().await;
}

#[tokio::test]
async fn a_body_of_no_stated_length_is_413_when_more_than_is_taken_has_come() {
    let routes = Router::new().route("/", post(async |body: String| body));
    let address = serve_here(routes, Timing::default()).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let most = "a".repeat(BODY_LIMIT_BYTES);
    let chunks = format!("{BODY_LIMIT_BYTES:x}\r\n{most}\r\n1\r\na\r\n");
    let answer = read_to_end(connect_and_send(address, &format!("{head}{chunks}")).await).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_and_keeps_nobody_else_from_being_served() {
    let routes = Router::new().route("/", post(async |body: String| body));
    let timing = Timing {
        body: Duration::from_secs(2),
        ..Timing::default()
    };
    let address = serve_here(routes, timing).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    let slow = connect_and_send(address, &format!("{head}slow")).await;
    let quick = testbed::client().post(format!("http://{address}/"));
    let quick = quick.body("quick").send().await.unwrap();
    assert_eq!(quick.status(), 200);
    assert_eq!(quick.text().await.unwrap(), "quick");
    // The connection is closed behind the answer: nobody waits for the rest.
    let answer = read_to_end(slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("application/problem+json"), "{answer}");
}

/// Tells when it is dropped.
struct Told(Option<mpsc::UnboundedSender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.take().unwrap().send(()).unwrap();
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_hung_up_on() {
    const MORE_THAN_THE_BUFFERS_OF_A_CONNECTION: usize = 64 * 1024 * 1024;
    let (told, mut dropped) = mpsc::unbounded_channel();
    let told = Arc::new(Mutex::new(Some(Told(Some(told)))));
    // The answer is dropped with its connection.
    let answer = async move || {
        let told = told.lock().unwrap().take();
        let zeros = stream::repeat_with(move || {
            let _ = &told;
            Ok::<_, Infallible>(vec![0_u8; 64 * 1024])
        });
        Body::from_stream(zeros.take(MORE_THAN_THE_BUFFERS_OF_A_CONNECTION / (64 * 1024)))
    };
    let timing = Timing {
        write: Duration::from_millis(200),
        ..Timing::default()
    };
    let address = serve_here(Router::new().route("/", get(answer)), timing).await;
    let deaf = connect_and_send(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    timeout(DEADLINE, dropped.recv()).await.unwrap().unwrap();
    drop(deaf);
}

#[tokio::test]
async fn a_request_whose_client_has_hung_up_counts_until_its_work_is_done() {
    let (begun, mut begins) = mpsc::unbounded_channel();
    let end = Arc::new(Semaphore::new(0));
    let work = {
        let end = Arc::clone(&end);
        async move || {
            begun.send(()).unwrap();
            drop(end.acquire().await);
        }
    };
    let (gone, mut noticed) = mpsc::unbounded_channel();
    // Outside of the limit: dropped with the connection.
    let notice = move |request: Request, next: Next| {
        let gone = Told(Some(gone.clone()));
        async move {
            let answer = next.run(request).await;
            drop(gone);
            answer
        }
    };
    let routes = Router::new().route("/", get(work));
    let routes = stacked(routes, 1, Timing::default()).layer(from_fn(notice));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(serve(
        listener,
        routes,
        Timing::default(),
        Closing::default(),
    ));
    let hung_up = tokio::spawn(testbed::client().get(address.clone()).send());
    begins.recv().await.unwrap();
    hung_up.abort();
    noticed.recv().await.unwrap();
    let refused = assert_problem(testbed::client().get(&address).send().await.unwrap(), 503).await;
    let message = refused["errors"][0]["message"].to_string();
    assert!(
        message.contains("nothing of this one was done"),
        "{message}"
    );
    end.add_permits(1);
    eventually("there is room again", async || {
        testbed::client()
            .get(&address)
            .send()
            .await
            .unwrap()
            .status()
            == 200
    })
    .await;
}
