//! A viewer of the live page that reads nothing, and one who looks while NATS is away.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use service::{MOST_VIEWERS, Timing};
use testbed::{Nats, Place, client, eventually, mongo_uri};
use tokio::net::{TcpListener, TcpSocket};

use crate::{
    live::{Viewer, look_away},
    toy::Toy,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LOOPBACK: &str = "127.0.0.1:0";

/// Where the page is served. The system keeps little for whoever reads nothing, else it were some MB.
pub(crate) fn listener(bind: &str) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(16 * 1024).unwrap();
    socket.bind(bind.parse().unwrap()).unwrap();
    socket.listen(64).unwrap()
}

/// So that there is always something to tell.
async fn create_for_ever(toy: &Toy) {
    loop {
        toy.create().await;
    }
}

#[tokio::test]
async fn one_that_reads_nothing_is_hung_up_on_and_holds_nobody_up() {
    let mut timing = Timing::default();
    timing.http.write = Duration::from_millis(500);
    let toy = Toy::with_page(Place::shared(), timing, LOOPBACK, Some(TOKEN)).await;
    let _away = look_away(&toy, TOKEN).await;
    // Figures are few.
    let others = (2..MOST_VIEWERS).map(|_| Viewer::open(&toy, None));
    let mut others = join_all(others).await;
    let mut operator = Viewer::open(&toy, Some(TOKEN)).await;
    let one_more = async || client().get(toy.page("/live")).send().await.unwrap();
    assert_eq!(one_more().await.status(), 503, "there is no room");
    let reads = async {
        loop {
            operator.next().await;
        }
    };
    let its_place_is_free = eventually("it is hung up on", async || {
        one_more().await.status() == 200
    });
    tokio::select! {
        () = its_place_is_free => {}
        () = create_for_ever(&toy) => {}
        () = reads => {}
    }
    for other in others.iter_mut().chain([&mut operator]) {
        other.until("figures", |_| true).await;
    }
    let last = toy.create().await;
    operator
        .until("outcomes", |it| it["events"][0]["key"] == *last)
        .await;
    drop((others, operator));
    toy.finish().await;
}

#[tokio::test]
async fn the_lag_grows_as_soon_as_an_event_waits_for_nats() {
    let mut nats = Nats::absent();
    nats.start().await;
    let place = Place::at(&mongo_uri(), &nats.url());
    let toy = Toy::with_page(place, Timing::default(), LOOPBACK, None).await;
    toy.create().await;
    toy.place.drained().await;
    let mut viewer = Viewer::open(&toy, None).await;
    viewer
        .until("figures", |it| it["outbox"]["unsent"] == 0)
        .await;
    nats.kill();
    viewer.until("figures", |it| it["nats"] == false).await;
    let waits = toy.create().await;
    let is_shown = |it: &Value| it["events"][0]["key"] == *waits;
    viewer.until("outcomes", is_shown).await;
    // The first may have been on its way already.
    viewer.until("figures", |_| true).await;
    let mut before = 0.0;
    for _ in 0..3 {
        let figures = viewer.until("figures", |_| true).await;
        let lag = figures["point"]["lag_seconds"].as_f64();
        assert!(lag > Some(before), "{figures}");
        before = lag.unwrap_or_default();
    }
    nats.start().await;
    drop(viewer);
    toy.finish().await;
}
