//! Who may see what on the live page.

use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::json;
use service::Timing;
use testbed::{Place, client};

use crate::{live::Viewer, toy::Toy};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const ALL: &str = "0.0.0.0:0";
const LOOPBACK: &str = "127.0.0.1:0";

async fn with_page(bind: &str, token: Option<&str>) -> Toy {
    Toy::with_page(Place::shared(), Timing::default(), bind, token).await
}

async fn status(request: RequestBuilder) -> u16 {
    request.send().await.unwrap().status().as_u16()
}

fn retry(toy: &Toy) -> RequestBuilder {
    let nothing = json!({ "event": "000000000000000000000000" });
    client().post(toy.page("/retry")).json(&nothing)
}

#[tokio::test]
async fn figures_are_for_everybody_and_the_rest_for_who_has_the_token() {
    for bind in [ALL, LOOPBACK] {
        let toy = with_page(bind, Some(TOKEN)).await;
        for (given, expected) in [
            (None, 401),
            (Some("another of thirty-two bytes or more"), 401),
            (Some(TOKEN), 200),
        ] {
            let with = |request: RequestBuilder| match given {
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let aside = with(client().get(toy.page("/aside")));
            assert_eq!(status(aside).await, expected, "{given:?}");
            let payload = with(client().get(toy.page("/payload?event=000000000000000000000000")));
            let decided = if expected == 200 { 404 } else { 401 };
            assert_eq!(status(payload).await, decided, "{given:?}");
            assert_eq!(status(with(retry(&toy))).await, decided, "{given:?}");
        }
        for path in [
            "/",
            "/page.js",
            "/live.js",
            "/page.css",
            "/asides.js",
            "/icon.svg",
            "/metrics",
        ] {
            assert_eq!(status(client().get(toy.page(path))).await, 200, "{path}");
        }
        toy.create().await;
        let mut stranger = Viewer::open(&toy, None).await;
        let [access, history, figures] = [
            stranger.next().await,
            stranger.next().await,
            stranger.next().await,
        ];
        assert_eq!(access, ("access".to_owned(), json!("noToken")));
        assert_eq!((&*history.0, &*figures.0), ("history", "figures"));
        let mut operator = Viewer::open(&toy, Some(TOKEN)).await;
        assert_eq!(operator.next().await.1, json!(null));
        operator
            .until("outcomes", |it| {
                it["events"][0]["type"] == "counter.created"
            })
            .await;
        toy.create().await;
        operator
            .until("outcomes", |it| {
                it["events"].as_array().is_some_and(|it| it.len() == 2)
            })
            .await;
        for _ in 0..3 {
            assert_eq!(stranger.next().await.0, "figures");
        }
        let wrong = client().get(toy.page("/live")).bearer_auth("wrong").send();
        assert_eq!(wrong.await.unwrap().status(), 401);
        drop((stranger, operator));
        toy.finish().await;
    }
}

#[tokio::test]
async fn without_a_token_this_machine_alone_sees_more_than_figures() {
    for (bind, expected, access) in [(ALL, 403, json!("closed")), (LOOPBACK, 200, json!(null))] {
        let toy = with_page(bind, None).await;
        assert_eq!(status(client().get(toy.page("/aside"))).await, expected);
        let decided = if expected == 200 { 404 } else { 403 };
        assert_eq!(status(retry(&toy)).await, decided);
        assert_eq!(Viewer::open(&toy, None).await.next().await.1, access);
        toy.finish().await;
    }
}

#[tokio::test]
async fn a_name_that_somebody_else_gave_our_address_is_refused() {
    let toy = with_page(LOOPBACK, None).await;
    let asked = async |path, host: &str| {
        let request = client().get(toy.page(path)).header("host", host);
        status(request).await
    };
    for path in ["/", "/live", "/aside", "/page.js"] {
        for host in [
            "evil.test",
            "evil.test:9090",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "",
        ] {
            assert_eq!(asked(path, host).await, 421, "{host}");
        }
        for host in [
            "localhost",
            "LOCALHOST:9090",
            "127.0.0.1:1",
            "[::1]:9090",
            "10.0.0.7",
            "service.internal:80",
        ] {
            assert_eq!(asked(path, host).await, 200, "{host}");
        }
    }
    // Prometheus comes by any name, for figures.
    assert_eq!(asked("/metrics", "tickets-7.example:9090").await, 200);
    toy.finish().await;
}

#[tokio::test]
async fn another_sites_page_decides_nothing() {
    let toy = with_page(LOOPBACK, None).await;
    let port = toy.admin.unwrap().port();
    let own = format!("http://127.0.0.1:{port}");
    let neighbour = format!("http://127.0.0.1:{}", port ^ 1);
    for (name, value, expected) in [
        ("sec-fetch-site", "same-origin", 404),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "none", 403),
        ("origin", &*own, 404),
        ("origin", &neighbour, 403),
        ("origin", "http://evil.test", 403),
        ("origin", "null", 403),
        ("x-nothing", "said", 404),
    ] {
        assert_eq!(
            status(retry(&toy).header(name, value)).await,
            expected,
            "{name}: {value}"
        );
    }
    for path in ["/retry", "/skip"] {
        let got = client().get(toy.page(path));
        assert_eq!(status(got).await, 405, "{path}");
        let simple = client()
            .post(toy.page(path))
            .header("content-type", "text/plain")
            .body("{}");
        assert_eq!(status(simple).await, 415, "{path}");
        let large = client()
            .post(toy.page(path))
            .json(&json!({ "reason": "x".repeat(20_000) }));
        assert_eq!(status(large).await, 413, "{path}");
    }
    toy.finish().await;
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_runs_nothing_that_stands_in_it() {
    let toy = with_page(ALL, None).await;
    for (path, kind) in [
        ("/", "text/html"),
        ("/page.js", "text/javascript"),
        ("/live.js", "text/javascript"),
        ("/asides.js", "text/javascript"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/aside", "text/plain"),
        ("/live", "text/event-stream"),
    ] {
        let answer = client()
            .request(Method::GET, toy.page(path))
            .send()
            .await
            .unwrap();
        let header = |name| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-type").starts_with(kind), "{path}");
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'")
        );
        assert!(
            !policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'),
            "{policy}"
        );
        assert!(
            policy.contains("require-trusted-types-for 'script'")
                && policy.contains("trusted-types 'none'"),
            "{policy}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(
            (
                &*header("cache-control"),
                &*header("cross-origin-resource-policy")
            ),
            ("no-store", "same-origin")
        );
        if answer.status() == StatusCode::OK && path != "/live" {
            let text = answer
                .text()
                .await
                .unwrap()
                .replace("http://www.w3.org/2000/svg", "");
            for foreign in [
                "http:",
                "https:",
                "url(",
                "@import",
                "innerHTML",
                " style=",
                " onclick",
                "<script>",
                "<style>",
            ] {
                assert!(!text.contains(foreign), "{path} has {foreign}");
            }
        }
    }
    toy.finish().await;
}
