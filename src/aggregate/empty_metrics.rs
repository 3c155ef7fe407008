//! The value of a metric that has no samples. k6 shows such a metric in its summary if it has a threshold. Pure.

use super::moment::UnixNanos;
use super::sink::{Aggregate, Sink};
use super::store::View;
use crate::k6::metrics::{MetricKind, MetricType, builtin};
use crate::k6::threshold::Threshold;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A metric without samples, or without samples that match a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmeasured {
    /// The value.
    pub sink: Sink,
    /// The kind of values, as k6 names it.
    pub contains: &'static str,
    /// Whether the type is known, and not only guessed from the thresholds.
    pub is_known: bool,
}

/// The value of a metric without samples. Its type is taken from its other samples, else from k6: from the list of
/// built-in metrics, or from what runners report about the script's metrics (`kinds`). If no runner has reported it,
/// the type is guessed from the thresholds: each aggregate of an expression belongs to one type, except for `rate`.
pub fn unmeasured<'a>(
    metric: &str,
    view: &View,
    kinds: &BTreeMap<String, MetricKind>,
    thresholds: impl Iterator<Item = &'a Threshold>,
) -> Unmeasured {
    if let Some(known) = view.metrics.get(metric) {
        return Unmeasured {
            sink: empty(known.sink.metric_type()),
            contains: known.contains,
            is_known: true,
        };
    }
    if let Some(MetricKind { type_, contains }) = builtin(metric).or_else(|| kinds.get(metric).copied()) {
        return Unmeasured {
            sink: empty(type_),
            contains: contains.as_str(),
            is_known: true,
        };
    }
    let asked = thresholds.filter(|threshold| threshold.selector.metric == metric);
    let (type_, is_known) = asked_for(asked);
    Unmeasured {
        sink: empty(type_),
        contains: "default",
        is_known,
    }
}

/// Whether a metric is built into k6, not defined by the script.
pub(super) fn is_builtin(metric: &str) -> bool {
    builtin(metric).is_some()
}

/// The type that has the aggregates of these thresholds, and whether no other type has them. A counter has a rate, too,
/// and a rate has no count.
fn asked_for<'a>(thresholds: impl Iterator<Item = &'a Threshold>) -> (MetricType, bool) {
    let asked: Vec<_> = thresholds
        .map(|threshold| threshold.expression.aggregate)
        .collect();
    if asked.contains(&Aggregate::Count) {
        (MetricType::Counter, true)
    } else if asked.contains(&Aggregate::Rate) {
        (MetricType::Rate, false)
    } else if asked.contains(&Aggregate::Value) {
        (MetricType::Gauge, true)
    } else {
        (MetricType::Trend, !asked.is_empty())
    }
}

fn empty(type_: MetricType) -> Sink {
    match type_ {
        MetricType::Counter => Sink::Counter(0.0),
        MetricType::Gauge => Sink::gauge(0.0, UnixNanos::NONE, false),
        MetricType::Rate => Sink::Rate { nonzero: 0, total: 0 },
        MetricType::Trend => Sink::Trend(Arc::default()),
    }
}
