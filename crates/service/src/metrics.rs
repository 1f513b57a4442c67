//! How metrics are read: Prometheus text. What each means, its crate says.

use std::sync::OnceLock;

use metrics::describe_gauge;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::log;

const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0,
];
const EVENTS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 1_000.0, 10_000.0];

/// Collects metrics from now on; the same for every call in a process.
///
/// # Errors
/// When another recorder was installed before.
pub(crate) fn install() -> anyhow::Result<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Result<PrometheusHandle, BuildError>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let builder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
                .set_buckets_for_metric(Matcher::Suffix("_size_events".to_owned()), &EVENTS)?;
            let handle = builder.install_recorder()?;
            db::describe();
            messaging::describe();
            web::describe();
            log::describe();
            describe_gauge!("build_info", "1, with the name and version of the program.");
            Ok(handle)
        })
        .as_ref()
        .map_err(|error| anyhow::anyhow!("metrics cannot be collected: {error}"))
}
