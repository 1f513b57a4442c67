//! What every route shares: errors of every layer, request ids, health.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use reqwest::Method;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use web::{Closing, Timing};

use testbed::{assert_problem, log::Log};

use crate::toy::{Toy, options, stack_of, stacked, token};

#[tokio::test]
async fn errors_of_every_layer_are_problem_json() {
    let app = Toy::start().await;
    let post = || {
        app.request(Method::POST, "/api/notes")
            .bearer_auth(token("alice"))
    };
    let json = "application/json";

    assert_problem(app.get("/nowhere").await, 404).await;
    let wrong_method = app
        .request(Method::DELETE, "/api/notes")
        .send()
        .await
        .unwrap();
    assert_eq!(wrong_method.headers()["allow"], "GET,HEAD,POST");
    assert_problem(wrong_method, 405).await;
    assert_problem(
        post()
            .header("content-type", "text/plain")
            .body("{}")
            .send()
            .await
            .unwrap(),
        415,
    )
    .await;
    assert_problem(post().body("{}").send().await.unwrap(), 415).await;
    for malformed in [
        "",
        "{",
        "{\"title\":\"a\",}",
        "\u{0}",
        "{\"title\":\"\\ud800\",\"price\":1}",
    ] {
        assert_problem(
            post()
                .header("content-type", json)
                .body(malformed)
                .send()
                .await
                .unwrap(),
            400,
        )
        .await;
    }
    for no_object in ["null", "[]", "[\"concert\",20]", "\"text\"", "7", "true"] {
        let problem = assert_problem(
            post()
                .header("content-type", json)
                .body(no_object)
                .send()
                .await
                .unwrap(),
            400,
        )
        .await;
        assert_eq!(
            problem["errors"][0]["message"],
            "the body must be a JSON object"
        );
    }
    let large = format!("{{\"title\":\"{}\"}}", "a".repeat(64 * 1024));
    assert_problem(
        post()
            .header("content-type", json)
            .body(large)
            .send()
            .await
            .unwrap(),
        413,
    )
    .await;
    app.finish().await;
}

#[tokio::test]
async fn a_panic_is_a_500_that_says_nothing_and_a_slow_handler_a_503() {
    let (log, _guard) = Log::capture();
    let routes = Router::new()
        .route("/panic", get(async || -> () { panic!("a secret") }))
        .route("/slow", get(std::future::pending::<()>));
    let timing = Timing {
        work: Duration::from_millis(50),
        ..Timing::default()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, stacked(routes, 8, timing)).await });

    let problem = assert_problem(
        testbed::client()
            .get(format!("http://{address}/panic"))
            .send()
            .await
            .unwrap(),
        500,
    )
    .await;
    assert!(!problem.to_string().contains("secret"));
    let slow = testbed::client()
        .get(format!("http://{address}/slow"))
        .send()
        .await
        .unwrap();
    assert!(slow.headers().contains_key("retry-after"));
    assert_problem(slow, 503).await;
    let line = log.told("http.status=503").await;
    assert!(
        line.contains("error=\"not answered within 50ms\""),
        "{line}"
    );
}

#[tokio::test]
async fn a_sane_request_id_is_kept_and_another_is_replaced() {
    let app = Toy::start().await;
    let answer = async |id: &str| {
        let response = app
            .request(Method::GET, "/health/live")
            .header("x-request-id", id)
            .send()
            .await
            .unwrap();
        response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    let longest = "a".repeat(128);
    for sane in ["abc-123_X.y:z", &longest] {
        assert_eq!(answer(sane).await, sane);
    }
    for insane in ["", "two words", "<script>", &"a".repeat(129)] {
        assert_eq!(answer(insane).await.len(), 36, "{insane}");
    }
    app.finish().await;
}

#[tokio::test]
async fn a_body_that_is_compressed_or_says_so_is_415() {
    let app = Toy::start().await;
    let post = async |codings: &[&str]| {
        let mut post = app
            .request(Method::POST, "/api/notes")
            .bearer_auth(token("alice"));
        for coding in codings {
            post = post.header("content-encoding", *coding);
        }
        let post = post.header("content-type", "application/json");
        post.body("{\"text\":\"hi\"}").send().await.unwrap()
    };
    for coded in [
        &["gzip"][..],
        &["GZIP"],
        &["br"],
        &["identity, gzip"],
        &["identity", "gzip"],
        &["nonsense"],
    ] {
        let refused = post(coded).await;
        assert_eq!(refused.headers()["accept-encoding"], "identity");
        let problem = assert_problem(refused, 415).await;
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(message.contains("Content-Encoding"), "{message}");
    }
    for plain in [&[][..], &[""], &["identity"], &["Identity, identity"]] {
        assert_eq!(post(plain).await.status(), 201, "{plain:?}");
    }
    app.finish().await;
}

#[tokio::test]
async fn what_goes_on_after_its_client_has_gone_is_among_the_work_that_is_waited_for() {
    let (begun, goes_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (Arc::clone(&begun), Arc::clone(&goes_on));
    let work = async move || {
        begins.notify_one();
        waits.notified().await;
    };
    let (options, timing) = (options(), Timing::default());
    let stack = stack_of(&options, timing);
    let under_way = stack.work.clone();
    let routes = web::stack(Router::new().route("/", get(work)), Router::new(), stack);
    let (listener, closing) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        Closing::default(),
    );
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(web::serve(listener, routes, timing, closing.clone()));
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    client.write_all(head).await.unwrap();
    begun.notified().await;
    drop(client);
    closing.now.cancel();
    serving.await.unwrap();
    assert_eq!(under_way.len(), 1);
    under_way.close();
    goes_on.notify_one();
    under_way.wait().await;
}
