//! Every metric's name and meaning, and how they are read: Prometheus text.

use std::sync::OnceLock;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::config::SERVICE;

pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";
pub const HTTP_REFUSED: &str = "http_server_requests_refused_total";

const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
const EVENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

/// Collects metrics from now on; the same for every call in a process.
///
/// # Errors
/// When another recorder was installed before.
pub fn install() -> anyhow::Result<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Result<PrometheusHandle, BuildError>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                .set_buckets_for_metric(Matcher::Suffix("_size_events".to_owned()), &EVENTS)?;
            let handle = builder.install_recorder()?;
            db::describe();
            messaging::describe();
            describe();
            begin();
            Ok(handle)
        })
        .as_ref()
        .map_err(|error| anyhow::anyhow!("metrics cannot be collected: {error}"))
}

fn describe() {
    describe_histogram!(
        HTTP_DURATION,
        "Time from a request's head to its answer's, by method, route and status; status is aborted where the client hung up before."
    );
    describe_counter!(
        HTTP_REFUSED,
        "Requests that were refused (503) because CONCURRENCY_LIMIT were being worked on, or too many wait for MongoDB."
    );
    describe_gauge!("build_info", "1, with the name and version of the program.");
}

/// Makes every series whose labels are known: one that first appears with its first event hides that event from `rate()`.
fn begin() {
    gauge!("build_info", "service" => SERVICE, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    counter!(HTTP_REFUSED).absolute(0);
}
