//! What somebody decides who looks at what is put aside: it may have changed since.

use messaging::{ShownLetter, SkippedVersions};
use serde_json::json;
use testbed::eventually;

use crate::{
    sent::{are_applied, are_aside, number, send, then},
    tally::{CONSUMER, Tally},
};

#[tokio::test]
async fn what_somebody_was_shown_is_decided_about_and_nothing_that_has_come_in_its_place() {
    let tally = Tally::start().await;
    let (place, inbox) = (&tally.place, &tally.inbox);
    let refused = |version| then("a", version, json!("refuse"));
    send(place, [refused(0), refused(1), number("b", 2)]).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting")]).await;
    are_aside(place, "b", &[(2, "waiting")]).await;
    let skip = async |key: &str, version, waits| {
        let shown = ShownLetter { version, waits };
        let skipped = inbox.skip_shown(CONSUMER, key, shown, "x").await.unwrap();
        skipped.map(|SkippedVersions { from, to }| (from, to))
    };
    assert_eq!(skip("a", 1, true).await, None, "it is behind another");
    assert_eq!(inbox.retry(CONSUMER, "a", Some(1)).await.unwrap(), None);
    assert_eq!(inbox.retry(CONSUMER, "a", Some(0)).await.unwrap(), Some(0));
    eventually("it was asked again", async || tally.calls("a", 0) == 2).await;
    are_aside(place, "a", &[(0, "dead"), (1, "waiting")]).await;
    assert_eq!(skip("a", 0, false).await, Some((0, 0)));
    are_aside(place, "a", &[(0, "skipped"), (1, "dead")]).await;
    // Two had the same dialog before them.
    assert_eq!(skip("a", 0, false).await, None, "it is given up already");
    assert_eq!(inbox.retry(CONSUMER, "a", Some(0)).await.unwrap(), None);
    // What is missing is not the message itself.
    assert_eq!(skip("a", 1, true).await, None, "nothing is missing");
    assert_eq!(skip("b", 2, false).await, None, "it waits");
    assert_eq!(skip("b", 2, true).await, Some((0, 1)));
    assert_eq!(skip("a", 1, false).await, Some((1, 1)));
    are_applied(place, "b", [2]).await;
    tally.finish().await;
}
