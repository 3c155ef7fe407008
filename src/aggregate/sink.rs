//! The state of a metric over any number of series, and the numbers that k6 computes from it. Pure.

use super::histogram::Histogram;
use super::moment::UnixNanos;
use crate::k6::metrics::MetricType;
pub use crate::k6::threshold::Aggregate;
use std::sync::Arc;

/// A number with bounds between which it lies for certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The most likely value.
    pub value: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

impl Estimate {
    /// An estimate without an error.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }
}

/// The state of a metric, by its type: <https://grafana.com/docs/k6/latest/using-k6/metrics/>. k6 has types of the same
/// names.
#[derive(Clone, Debug, PartialEq)]
pub enum Sink {
    /// A sum.
    Counter(f64),
    /// A last value.
    Gauge {
        /// The last value: the sum over the runners, or the latest, depending on the metric.
        value: f64,
        /// The least value.
        min: f64,
        /// The greatest value.
        max: f64,
        /// Since when it has this value.
        since: UnixNanos,
        /// Whether the values of series are added up, as those of `vus`.
        summed: bool,
    },
    /// The share of values that are not zero.
    Rate {
        /// The number of nonzero values.
        nonzero: u64,
        /// The number of all values.
        total: u64,
    },
    /// A distribution.
    Trend(Arc<Histogram>),
}

impl Sink {
    /// A gauge with one value, which it has had since `time`.
    pub(super) fn gauge(value: f64, time: UnixNanos, summed: bool) -> Self {
        Self::Gauge {
            value,
            min: value,
            max: value,
            since: time,
            summed,
        }
    }

    /// The type of the metric.
    pub fn metric_type(&self) -> MetricType {
        match self {
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge { .. } => MetricType::Gauge,
            Self::Rate { .. } => MetricType::Rate,
            Self::Trend(_) => MetricType::Trend,
        }
    }

    /// Adds another sink of the same type. Of two gauges, the later value counts, or the sum. A sink of another type is
    /// ignored.
    pub fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(more)) => *sum += more,
            (
                Self::Gauge {
                    value,
                    min,
                    max,
                    since,
                    summed,
                },
                Self::Gauge {
                    value: other,
                    min: least,
                    max: most,
                    since: when,
                    summed: _,
                },
            ) => {
                if *summed {
                    (*value, *min, *max) = (*value + other, *min + least, *max + most);
                } else {
                    if when >= since {
                        *value = *other;
                    }
                    (*min, *max) = (min.min(*least), max.max(*most));
                }
                *since = *when.max(since);
            }
            (
                Self::Rate { nonzero, total },
                Self::Rate {
                    nonzero: ones,
                    total: more,
                },
            ) => {
                *nonzero = nonzero.saturating_add(*ones);
                *total = total.saturating_add(*more);
            }
            (Self::Trend(histogram), Self::Trend(more)) => Arc::make_mut(histogram).add(more),
            (Self::Counter(_) | Self::Gauge { .. } | Self::Rate { .. } | Self::Trend(_), _) => {}
        }
    }

    /// Replaces an earlier state of the same series. A gauge keeps its history, which no export has.
    pub fn follow(&mut self, before: &Self) {
        if let (
            Self::Gauge {
                value,
                min,
                max,
                since,
                summed: _,
            },
            Self::Gauge {
                value: last,
                min: least,
                max: most,
                since: when,
                summed: _,
            },
        ) = (self, before)
        {
            (*min, *max) = (min.min(*least), max.max(*most));
            if last.to_bits() == value.to_bits() {
                *since = *when;
            }
        }
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Counter(_) | Self::Gauge { .. } => false,
            Self::Rate { total, .. } => *total == 0,
            Self::Trend(histogram) => histogram.count == 0,
        }
    }

    /// The number that is asked for, after this many seconds of the test. None if the type has no such number.
    pub fn ask(&self, aggregate: Aggregate, seconds: f64) -> Option<Estimate> {
        match (self, aggregate) {
            (Self::Counter(sum), Aggregate::Count) => Some(Estimate::exact(*sum)),
            (Self::Counter(sum), Aggregate::Rate) => {
                let rate = if seconds > 0.0 { sum / seconds } else { 0.0 };
                Some(Estimate::exact(rate))
            }
            (Self::Gauge { value, .. }, Aggregate::Value) => Some(Estimate::exact(*value)),
            (Self::Rate { nonzero, total }, Aggregate::Rate) => {
                let share = if *total == 0 {
                    0.0
                } else {
                    *nonzero as f64 / *total as f64
                };
                Some(Estimate::exact(share))
            }
            (Self::Trend(histogram), aggregate) => of_trend(histogram, aggregate),
            (Self::Counter(_) | Self::Gauge { .. } | Self::Rate { .. }, _) => None,
        }
    }
}

fn of_trend(histogram: &Histogram, aggregate: Aggregate) -> Option<Estimate> {
    let of_some = |value: f64| Estimate::exact(if histogram.count == 0 { 0.0 } else { value });
    match aggregate {
        Aggregate::Count => Some(Estimate::exact(histogram.count as f64)),
        Aggregate::Avg => Some(Estimate::exact(histogram.mean())),
        Aggregate::Min => Some(of_some(histogram.min)),
        Aggregate::Max => Some(of_some(histogram.max)),
        Aggregate::Med => histogram.quantile(0.5).or(Some(Estimate::exact(0.0))),
        Aggregate::Percentile(p) => histogram.quantile(p / 100.0).or(Some(Estimate::exact(0.0))),
        Aggregate::Rate | Aggregate::Value => None,
    }
}
