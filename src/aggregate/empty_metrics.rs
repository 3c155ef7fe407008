//! The value of a metric that has no samples. k6 shows it in its summary if it has a threshold. Pure.

use super::sink::{Aggregate, Sink};
use super::store::View;
use crate::k6::metrics::{MetricKind, MetricType, builtin};
use crate::k6::threshold::Threshold;
use std::collections::BTreeMap;

/// A metric without samples, or without those of a selector.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmeasured {
    /// Its value.
    pub sink: Sink,
    /// k6's word for what it measures.
    pub contains: &'static str,
    /// Whether its type is known, and not only guessed from the thresholds on it.
    pub is_known: bool,
}

/// The value of a metric without samples. Its type is that of its other samples, else what k6 says: of its own metrics,
/// and, through the runners, of those of the script (`kinds`). Where no runner has told, the thresholds on it tell: each
/// of their methods belongs to one type, but for `rate`.
pub fn unmeasured<'a>(
    metric: &str,
    view: &View,
    kinds: &BTreeMap<String, MetricKind>,
    thresholds: impl Iterator<Item = &'a Threshold>,
) -> Unmeasured {
    if let Some(known) = view.metrics.get(metric) {
        return Unmeasured {
            sink: emptied(&known.sink),
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

/// Whether k6 itself makes a metric, and not the script.
pub(super) fn is_builtin(metric: &str) -> bool {
    builtin(metric).is_some()
}

/// The type that has these thresholds, and whether no other has them. A counter has a rate too, and a rate has no count.
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
        MetricType::Gauge => Sink::Gauge {
            value: 0.0,
            min: 0.0,
            max: 0.0,
            since: 0,
            summed: false,
        },
        MetricType::Rate => Sink::Rate { nonzero: 0, total: 0 },
        MetricType::Trend => Sink::Trend(Box::default()),
    }
}

fn emptied(sink: &Sink) -> Sink {
    empty(match sink {
        Sink::Counter(_) => MetricType::Counter,
        Sink::Gauge { .. } => MetricType::Gauge,
        Sink::Rate { .. } => MetricType::Rate,
        Sink::Trend(_) => MetricType::Trend,
    })
}
