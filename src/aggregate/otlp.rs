//! Reads the data of k6's OpenTelemetry output. Pure.

use super::bounds::within_bounds;
use super::histogram::adds_up;
use super::moment::UnixNanos;
use super::store::ExportError;
use super::wire::{Attribute, Data, HistogramPoint, Metric, Number, NumberPoint};
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;

/// The tag that OpenTelemetry's SDK uses in place of all others when there are too many series.
pub(super) const OVERFLOW_TAG: &str = "otel.metric.overflow";
/// The suffixes of the two counters by which older versions of k6 export a rate. Newer versions have one counter, with
/// the second suffix.
const OCCURRED: &str = ".occurred";
pub(super) const TOTAL: &str = ".total";
/// The tag that tells zeros from other values in that counter.
const CONDITION: &str = "condition";
const ZERO: &str = "zero";
const NONZERO: &str = "nonzero";

/// One of the counters of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) enum RateCounter {
    Occurred(u64),
    Total(u64),
    Zero(u64),
    Nonzero(u64),
}

/// Checks that all points of a metric can be merged.
pub(super) fn acceptable(metric: &Metric<'_>) -> Result<(), ExportError> {
    within_bounds(metric)?;
    let name = metric.name;
    const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
    let temporality = match &metric.data {
        Some(Data::Sum {
            points: _,
            temporality,
        }) => Some(*temporality),
        Some(Data::ExponentialHistogram { points, temporality }) => {
            let consistent = |point: &HistogramPoint| {
                let histogram = &point.histogram;
                let buckets = [&histogram.positive, &histogram.negative];
                adds_up(
                    buckets.map(|buckets| buckets.counts.as_slice()),
                    histogram.zeros,
                    histogram.count,
                )
            };
            if !points.iter().all(consistent) {
                return Err(ExportError::Inconsistent(name.to_owned()));
            }
            Some(*temporality)
        }
        Some(Data::Histogram) => return Err(ExportError::ExplicitBuckets(name.to_owned())),
        Some(Data::Summary) => return Err(ExportError::Foreign(name.to_owned())),
        Some(Data::Gauge(_)) | None => None,
    };
    match temporality {
        None | Some(CUMULATIVE) => Ok(()),
        Some(_) => Err(ExportError::Delta(name.to_owned())),
    }
}

pub(super) fn condition(tags: &[Attribute<'_>]) -> Option<bool> {
    let found = tags.iter().find(|attribute| attribute.key == CONDITION)?;
    match found.text {
        NONZERO => Some(true),
        ZERO => Some(false),
        _ => None,
    }
}

/// Whether a point with these tags is the sum of the series that the SDK did not keep apart.
pub(super) fn is_overflow(tags: &[Attribute<'_>]) -> bool {
    matches!(tags, [only] if only.key == OVERFLOW_TAG)
}

pub(super) fn number(point: &NumberPoint) -> f64 {
    match &point.value {
        Some(Number::Double(value)) => *value,
        Some(Number::Int(value)) => *value as f64,
        None => 0.0,
    }
}

/// The rate that a sum is a counter of, if it is one.
pub(super) fn part_of_rate<'a>(
    name: &'a str,
    point: &NumberPoint,
    tags: &[Attribute<'_>],
) -> Option<(&'a str, RateCounter)> {
    match &point.value {
        Some(Number::Int(count)) => {
            let count = u64::try_from(*count).unwrap_or_default();
            if let Some(metric) = name.strip_suffix(OCCURRED) {
                Some((metric, RateCounter::Occurred(count)))
            } else if let Some(nonzero) = condition(tags) {
                let part = if nonzero {
                    RateCounter::Nonzero(count)
                } else {
                    RateCounter::Zero(count)
                };
                Some((name.strip_suffix(TOTAL).unwrap_or(name), part))
            } else {
                let metric = name.strip_suffix(TOTAL);
                metric.map(|metric| (metric, RateCounter::Total(count)))
            }
        }
        Some(Number::Double(_)) | None => None,
    }
}

/// Whether a tag is the one that distinguishes the counters of a rate.
pub(super) fn is_half(attribute: &Attribute<'_>) -> bool {
    attribute.key == CONDITION && matches!(attribute.text, ZERO | NONZERO)
}

/// When an export was made, and the sum of all its counts. As exports are cumulative, a later one never has less.
pub(super) fn progress(metrics: &[Metric<'_>]) -> (UnixNanos, f64) {
    let (mut made, mut much) = (UnixNanos::NONE, 0.0);
    let mut of = |time: UnixNanos, more: f64| {
        made = time.max(made);
        much += more.max(0.0);
    };
    for metric in metrics {
        match &metric.data {
            Some(Data::Sum {
                points,
                temporality: _,
            }) => points.iter().for_each(|point| of(point.time, number(point))),
            Some(Data::ExponentialHistogram {
                points,
                temporality: _,
            }) => {
                points
                    .iter()
                    .for_each(|point| of(point.time, point.histogram.count as f64));
            }
            Some(Data::Gauge(points)) => points.iter().for_each(|point| of(point.time, 0.0)),
            Some(Data::Histogram | Data::Summary) | None => {}
        }
    }
    (made, much)
}
