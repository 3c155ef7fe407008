//! Reads the data of k6's OpenTelemetry output. Pure.

use super::bounds::within_bounds;
use super::histogram::{Buckets, Histogram, adds_up};
use super::moment::UnixNanos;
use super::store::ExportError;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogramDataPoint, Metric, NumberDataPoint,
    exponential_histogram_data_point::Buckets as ProtoBuckets,
};

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
pub(super) fn acceptable(metric: &Metric) -> Result<(), ExportError> {
    within_bounds(metric)?;
    let (name, data) = (metric.name.as_str(), metric.data.as_ref());
    const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;
    let temporality = match data {
        Some(Data::Sum(sum)) => Some(sum.aggregation_temporality),
        Some(Data::ExponentialHistogram(histogram)) => {
            let consistent = |point: &ExponentialHistogramDataPoint| {
                let buckets = [&point.positive, &point.negative].map(|buckets| {
                    let counts = buckets.as_ref().map(|buckets| buckets.bucket_counts.as_slice());
                    counts.unwrap_or_default()
                });
                adds_up(buckets, point.zero_count, point.count)
            };
            if !histogram.data_points.iter().all(consistent) {
                return Err(ExportError::Inconsistent(name.to_owned()));
            }
            Some(histogram.aggregation_temporality)
        }
        Some(Data::Histogram(_)) => return Err(ExportError::ExplicitBuckets(name.to_owned())),
        Some(Data::Summary(_)) => return Err(ExportError::Foreign(name.to_owned())),
        Some(Data::Gauge(_)) | None => None,
    };
    match temporality {
        None | Some(CUMULATIVE) => Ok(()),
        Some(_) => Err(ExportError::Delta(name.to_owned())),
    }
}

pub(super) fn text(attribute: &KeyValue) -> &str {
    match &attribute.value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text,
        Some(AnyValue { .. }) | None => "",
    }
}

pub(super) fn condition(point: &NumberDataPoint) -> Option<bool> {
    let found = point
        .attributes
        .iter()
        .find(|attribute| attribute.key == CONDITION)?;
    match text(found) {
        NONZERO => Some(true),
        ZERO => Some(false),
        _ => None,
    }
}

/// Whether a point is the sum of the series that the SDK did not keep apart.
pub(super) fn is_overflow(point: &NumberDataPoint) -> bool {
    matches!(point.attributes.as_slice(), [only] if only.key == OVERFLOW_TAG)
}

pub(super) fn number(point: &NumberDataPoint) -> f64 {
    match &point.value {
        Some(Number::AsDouble(value)) => *value,
        Some(Number::AsInt(value)) => *value as f64,
        None => 0.0,
    }
}

pub(super) fn trend(point: &ExponentialHistogramDataPoint) -> Histogram {
    let buckets = |buckets: Option<&ProtoBuckets>| {
        buckets.map_or_else(Buckets::default, |buckets| Buckets {
            offset: buckets.offset,
            counts: buckets.bucket_counts.clone(),
        })
    };
    Histogram {
        scale: point.scale,
        zeros: point.zero_count,
        zero_threshold: point.zero_threshold,
        positive: buckets(point.positive.as_ref()),
        negative: buckets(point.negative.as_ref()),
        count: point.count,
        sum: point.sum.unwrap_or_default(),
        min: point.min.unwrap_or(f64::NEG_INFINITY),
        max: point.max.unwrap_or(f64::INFINITY),
    }
}

/// The rate that a sum is a counter of, if it is one.
pub(super) fn part_of_rate<'a>(name: &'a str, point: &NumberDataPoint) -> Option<(&'a str, RateCounter)> {
    match &point.value {
        Some(Number::AsInt(count)) => {
            let count = u64::try_from(*count).unwrap_or_default();
            if let Some(metric) = name.strip_suffix(OCCURRED) {
                Some((metric, RateCounter::Occurred(count)))
            } else if let Some(nonzero) = condition(point) {
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
        Some(Number::AsDouble(_)) | None => None,
    }
}

/// Whether a tag is the one that distinguishes the counters of a rate.
pub(super) fn is_half(attribute: &KeyValue) -> bool {
    attribute.key == CONDITION && matches!(text(attribute), ZERO | NONZERO)
}

/// When an export was made, and the sum of all its counts. As exports are cumulative, a later one never has less.
pub(super) fn progress<'a>(metrics: impl Iterator<Item = &'a Metric>) -> (UnixNanos, f64) {
    let (mut made, mut much) = (UnixNanos::NONE, 0.0);
    let mut of = |unix_nanos: u64, more: f64| {
        made = UnixNanos(unix_nanos).max(made);
        much += more.max(0.0);
    };
    for metric in metrics {
        match &metric.data {
            Some(Data::Sum(sum)) => {
                let points = sum.data_points.iter();
                points.for_each(|point| of(point.time_unix_nano, number(point)));
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let points = histogram.data_points.iter();
                points.for_each(|point| of(point.time_unix_nano, point.count as f64));
            }
            Some(Data::Gauge(gauge)) => {
                let points = gauge.data_points.iter();
                points.for_each(|point| of(point.time_unix_nano, 0.0));
            }
            Some(Data::Histogram(_) | Data::Summary(_)) | None => {}
        }
    }
    (made, much)
}
