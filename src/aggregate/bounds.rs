//! Refuses exports that k6 can't have made, and those that would cost more than their size suggests. Pure.

use super::store::ExportError;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, Metric, NumberDataPoint, exponential_histogram_data_point::Buckets,
};
use std::ops::RangeInclusive;

/// The scales that OpenTelemetry's SDK for Go uses: <https://opentelemetry.io/docs/specs/otel/metrics/sdk/#maxscale>.
const SCALES: RangeInclusive<i32> = -10..=20;
/// The most buckets of one sign. The SDK keeps 160. A histogram with many empty buckets would need more memory than its
/// bytes.
const BUCKETS: usize = 320;
/// The most values of a series, and the largest count of a bucket. JSON has no larger exact integers.
const VALUES: u64 = 1 << 53;
/// The longest name of a metric, in characters: <https://github.com/grafana/k6/blob/v2.2.0/metrics/registry.go>.
const NAME: usize = 129;
/// Suffixes that k6's output adds to the name.
const SUFFIXES: [&str; 2] = [".occurred", ".total"];

/// Checks that k6 can have made a metric.
pub(super) fn within_bounds(metric: &Metric) -> Result<(), ExportError> {
    if !is_name(&metric.name) {
        let shown: String = metric.name.chars().take(NAME).collect();
        return Err(ExportError::Name(shown));
    }
    let beyond = |what: &'static str| {
        Err(ExportError::Beyond {
            metric: metric.name.clone(),
            what,
        })
    };
    let is_count = |point: &NumberDataPoint| match &point.value {
        Some(Number::AsInt(count)) => count.unsigned_abs() <= VALUES,
        Some(Number::AsDouble(_)) | None => true,
    };
    match &metric.data {
        Some(Data::Sum(sum)) if !sum.data_points.iter().all(is_count) => beyond("count"),
        Some(Data::Gauge(gauge)) if !gauge.data_points.iter().all(is_count) => beyond("value"),
        Some(Data::ExponentialHistogram(histogram)) => match histogram.data_points.iter().find_map(too_large)
        {
            Some(what) => beyond(what),
            None => Ok(()),
        },
        Some(Data::Sum(_) | Data::Gauge(_) | Data::Histogram(_) | Data::Summary(_)) | None => Ok(()),
    }
}

/// Names what in a histogram is beyond the limits of the SDK.
fn too_large(point: &ExponentialHistogramDataPoint) -> Option<&'static str> {
    let buckets = || [&point.positive, &point.negative].into_iter().flatten();
    if !SCALES.contains(&point.scale) {
        return Some("scale");
    }
    if buckets().any(|Buckets { bucket_counts, .. }| bucket_counts.len() > BUCKETS) {
        return Some("number of buckets");
    }
    let mut counts = buckets().flat_map(|buckets| &buckets.bucket_counts);
    let is_large = point.count > VALUES || point.zero_count > VALUES || counts.any(|count| *count > VALUES);
    // The sum of an offset and an index must fit into an i32.
    let is_far = |buckets: &Buckets| {
        buckets
            .offset
            .checked_add(i32::try_from(BUCKETS).unwrap_or(i32::MAX))
            .is_none()
    };
    if is_large {
        Some("count")
    } else if buckets().any(is_far) {
        Some("offset")
    } else {
        None
    }
}

/// Whether k6 allows this name for a metric. Such a name needs no escaping wherever it is printed.
pub(super) fn is_name(name: &str) -> bool {
    let bare = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    let bare = bare.unwrap_or(name);
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_more = |c: char| c.is_ascii_alphanumeric() || c == '_';
    bare.len() <= NAME && bare.starts_with(is_first) && bare.chars().all(is_more)
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, VALUES, is_name, within_bounds};
    use crate::aggregate::store::ExportError;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogram, ExponentialHistogramDataPoint, Metric, NumberDataPoint, Sum,
        exponential_histogram_data_point::Buckets,
    };

    #[test]
    fn names_are_those_that_k6_allows() {
        let long = "a".repeat(129);
        for name in [
            "http_reqs",
            "_",
            "A9",
            "checks.total",
            "good.occurred",
            long.as_str(),
        ] {
            assert!(is_name(name), "{name}");
        }
        let longer = "a".repeat(130);
        for name in ["", "9a", "a b", "a.b", ".total", "up 0\n", "é", longer.as_str()] {
            assert!(!is_name(name), "{name}");
        }
    }

    fn of(point: ExponentialHistogramDataPoint) -> Result<(), ExportError> {
        within_bounds(&Metric {
            name: "waits".to_owned(),
            data: Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![point],
                aggregation_temporality: 2,
            })),
            ..Metric::default()
        })
    }

    #[test]
    fn histograms_beyond_what_the_sdk_makes_are_refused() {
        let beyond = |what| {
            Err(ExportError::Beyond {
                metric: "waits".to_owned(),
                what,
            })
        };
        let buckets = |offset, bucket_counts| ExponentialHistogramDataPoint {
            positive: Some(Buckets {
                offset,
                bucket_counts,
            }),
            ..ExponentialHistogramDataPoint::default()
        };
        let scaled = |scale| ExponentialHistogramDataPoint {
            scale,
            ..ExponentialHistogramDataPoint::default()
        };
        for scale in [-10, 20] {
            assert_eq!(of(scaled(scale)), Ok(()));
        }
        for scale in [-11, 21, i32::MIN, i32::MAX] {
            assert_eq!(of(scaled(scale)), beyond("scale"));
        }
        assert_eq!(of(buckets(i32::MIN, vec![VALUES; BUCKETS])), Ok(()));
        assert_eq!(of(buckets(0, vec![0; BUCKETS + 1])), beyond("number of buckets"));
        assert_eq!(of(buckets(0, vec![VALUES + 1])), beyond("count"));
        assert_eq!(of(buckets(i32::MAX, vec![1])), beyond("offset"));
    }

    #[test]
    fn counts_that_are_no_integers_of_json_are_refused() {
        let of = |count| {
            let point = NumberDataPoint {
                value: Some(Number::AsInt(count)),
                ..NumberDataPoint::default()
            };
            let sum = Sum {
                data_points: vec![point],
                ..Sum::default()
            };
            within_bounds(&Metric {
                name: "checks.total".to_owned(),
                data: Some(Data::Sum(sum)),
                ..Metric::default()
            })
        };
        assert_eq!(of(1 << 53), Ok(()));
        assert!(of((1 << 53) + 1).is_err() && of(i64::MIN).is_err());
    }
}
