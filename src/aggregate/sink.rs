//! What a metric has come to over any number of series, and the numbers that k6 makes of it. Pure.

use super::histogram::Histogram;
pub use crate::k6::threshold::Aggregate;

/// A number, and between which two it lies for certain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The most likely value.
    pub value: f64,
    /// The least that it can be.
    pub low: f64,
    /// The most that it can be.
    pub high: f64,
}

impl Estimate {
    /// A number that is known.
    pub fn exact(value: f64) -> Self {
        Self {
            value,
            low: value,
            high: value,
        }
    }
}

/// What a metric has come to, by its type: <https://grafana.com/docs/k6/latest/using-k6/metrics/>.
#[derive(Clone, Debug, PartialEq)]
pub enum Sink {
    /// A sum.
    Counter(f64),
    /// A last value.
    Gauge {
        /// The last value of each runner, summed or the latest, as the metric is.
        value: f64,
        /// The least that was seen.
        min: f64,
        /// The most that was seen.
        max: f64,
        /// When it came to that value, in ns since 1970.
        since: u64,
        /// Whether series have parts of it, and it is their sum.
        summed: bool,
    },
    /// How many of the values were not zero.
    Rate {
        /// The number of nonzero values.
        nonzero: u64,
        /// The number of all values.
        total: u64,
    },
    /// A distribution.
    Trend(Box<Histogram>),
}

impl Sink {
    /// k6's name of the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) => "counter",
            Self::Gauge { .. } => "gauge",
            Self::Rate { .. } => "rate",
            Self::Trend(_) => "trend",
        }
    }

    /// Adds another of the same type: of two gauges the later value counts, or the sum. One of another type is left
    /// out.
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
            (Self::Trend(histogram), Self::Trend(more)) => histogram.add(more),
            (Self::Counter(_) | Self::Gauge { .. } | Self::Rate { .. } | Self::Trend(_), _) => {}
        }
    }

    /// Takes the place of what was known of the same before: a gauge keeps its history, which is in no export.
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

    /// Whether nothing has been measured.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Counter(_) | Self::Gauge { .. } => false,
            Self::Rate { total, .. } => *total == 0,
            Self::Trend(histogram) => histogram.count == 0,
        }
    }

    /// The number that is asked for, after so many seconds of the test; None where the type has no such number.
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
