//! For how long a client may ask for nothing.

use tokio::time::{sleep, timeout};

use super::*;

const LIMIT: Duration = Duration::from_secs(65);

#[tokio::test(start_paused = true)]
async fn a_head_that_begins_at_the_end_of_an_idle_time_has_a_time_of_its_own() {
    let activity = Activity::default();
    let begins_late = async {
        sleep(LIMIT - Duration::from_secs(1)).await;
        activity.has_read(b"G");
        sleep(LIMIT).await;
    };
    tokio::select! {
        () = activity.asks_nothing_for(LIMIT) => panic!("a head had begun"),
        () = begins_late => {}
    }
    let silent = Activity::default();
    let over = timeout(LIMIT * 2, silent.asks_nothing_for(LIMIT)).await;
    over.unwrap();
}
