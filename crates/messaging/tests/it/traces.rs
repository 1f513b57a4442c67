//! The trace of a message, which what its handler records goes on with.

use crate::{
    sent::{are_applied, are_aside, number, publish},
    tally::Tally,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn the_tracestate_of_a_message_goes_on_with_it_also_where_it_was_put_aside() {
    let tally = Tally::start().await;
    let send = async |version: i64| {
        let sent = number("a", version);
        let mut headers = sent.headers();
        headers.insert("traceparent", TRACEPARENT);
        headers.insert("tracestate", format!("vendor={version}"));
        let subject = format!("{}.number.added.a", tally.place.name);
        publish(&tally.place, subject, headers, sent.payload.to_string()).await;
    };
    send(1).await;
    are_aside(&tally.place, "a", &[(1, "waiting")]).await;
    send(0).await;
    are_applied(&tally.place, "a", [0, 1]).await;
    for (version, event) in tally.place.events().await.iter().enumerate() {
        assert_eq!(event.get_str("traceparent").unwrap(), TRACEPARENT);
        let state = format!("vendor={version}");
        assert_eq!(event.get_str("tracestate").unwrap(), state);
    }
    tally.finish().await;
}
