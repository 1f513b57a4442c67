//! What a test's thread counts, which all of its tasks run on.

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

pub(crate) const FAILURES: &str = "outbox_publish_failures_total{";
pub(crate) const OF_A_KEY: &str = "outbox_publish_failures_total{reason=\"key\"}";
pub(crate) const OF_PARKING: &str = "outbox_publish_failures_total{reason=\"parked\"}";
pub(crate) const OF_THE_BROKER: &str = "outbox_publish_failures_total{reason=\"broker\"}";

pub(crate) struct Counters {
    metrics: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Counters {
    /// From now on.
    pub(crate) fn start() -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        Self {
            metrics: recorder.handle(),
            _guard: metrics::set_default_local_recorder(recorder),
        }
    }

    /// All series that begin so, together.
    pub(crate) fn count(&self, series: &str) -> u64 {
        let text = self.metrics.render();
        let counted = text.lines().filter(|line| line.starts_with(series));
        let values = counted.map(|line| line.rsplit(' ').next().unwrap());
        values.map(|value| value.parse::<u64>().unwrap()).sum()
    }

    /// Of one series, which is named in full; `None` where nobody has told of it yet.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render();
        let value = text.lines().find_map(|line| line.strip_prefix(series));
        value.map(|value| value.trim().parse().unwrap())
    }
}
