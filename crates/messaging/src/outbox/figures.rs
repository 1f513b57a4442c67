//! The figures of the outbox, as metrics.

use std::time::SystemTime;

use metrics::gauge;

use super::Outbox;
use crate::{
    Status,
    metrics::{FIGURES, HAS_PUBLISHER, OLDEST_UNSENT, PARKED, STATUS_READ, UNSENT},
};

/// Reads the figures that the database knows. `None` where they could not be read.
pub async fn read_figures(outbox: &Outbox) -> Option<Status> {
    let status = match outbox.sampled_status().await {
        Ok(status) => status,
        Err(error) => {
            tracing::debug!(%error, "cannot read the outbox's figures");
            // Figures of another time would speak against those of the instances that read them.
            for figure in FIGURES {
                gauge!(figure).set(f64::NAN);
            }
            return None;
        }
    };
    gauge!(UNSENT).set(status.unsent as f64);
    gauge!(OLDEST_UNSENT).set(status.oldest_waiting_seconds.unwrap_or(0.0));
    gauge!(PARKED).set(status.parked as f64);
    gauge!(HAS_PUBLISHER).set(f64::from(u8::from(status.publisher.is_some())));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    gauge!(STATUS_READ).set(now.unwrap_or_default().as_secs_f64());
    Some(status)
}
