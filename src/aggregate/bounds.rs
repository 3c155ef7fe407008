//! Refuses exports that k6 can't have made, and those that would cost more than their size suggests. Pure.

use super::histogram::Histogram;
use super::store::ExportError;
use super::wire::{Data, Metric, Number, NumberPoint};
use std::ops::RangeInclusive;

/// The scales that OpenTelemetry's SDK for Go uses: <https://opentelemetry.io/docs/specs/otel/metrics/sdk/#maxscale>.
const SCALES: RangeInclusive<i32> = -10..=20;
/// The most buckets of one sign. The SDK keeps 160. A histogram with many empty buckets would need more memory than its
/// bytes.
pub(super) const BUCKETS: usize = 320;
/// The most values of a series, and the largest count of a bucket. JSON has no larger exact integers.
const VALUES: u64 = 1 << 53;
/// The longest name of a metric, in characters: <https://github.com/grafana/k6/blob/v2.2.0/metrics/registry.go>.
const NAME: usize = 129;
/// Suffixes that k6's output adds to the name.
const SUFFIXES: [&str; 2] = [".occurred", ".total"];

/// Checks that k6 can have made a metric.
pub(super) fn within_bounds(metric: &Metric<'_>) -> Result<(), ExportError> {
    if !is_name(metric.name) {
        let shown: String = metric.name.chars().take(NAME).collect();
        return Err(ExportError::Name(shown));
    }
    let beyond = |what: &'static str| {
        Err(ExportError::Beyond {
            metric: metric.name.to_owned(),
            what,
        })
    };
    let is_count = |point: &NumberPoint| match &point.value {
        Some(Number::Int(count)) => count.unsigned_abs() <= VALUES,
        Some(Number::Double(_)) | None => true,
    };
    match &metric.data {
        Some(Data::Sum {
            points,
            temporality: _,
        }) if !points.iter().all(is_count) => beyond("count"),
        Some(Data::Gauge(points)) if !points.iter().all(is_count) => beyond("value"),
        Some(Data::ExponentialHistogram {
            points,
            temporality: _,
        }) => match points.iter().find_map(|point| too_large(&point.histogram)) {
            Some(what) => beyond(what),
            None => Ok(()),
        },
        Some(
            Data::Sum {
                points: _,
                temporality: _,
            }
            | Data::Gauge(_)
            | Data::Histogram
            | Data::Summary,
        )
        | None => Ok(()),
    }
}

/// Names what in a histogram is beyond the limits of the SDK.
fn too_large(histogram: &Histogram) -> Option<&'static str> {
    let buckets = || [&histogram.positive, &histogram.negative].into_iter();
    if !SCALES.contains(&histogram.scale) {
        return Some("scale");
    }
    if buckets().any(|buckets| buckets.counts.len() > BUCKETS) {
        return Some("number of buckets");
    }
    let mut counts = buckets().flat_map(|buckets| &buckets.counts);
    let is_large =
        histogram.count > VALUES || histogram.zeros > VALUES || counts.any(|count| *count > VALUES);
    // The sum of an offset and an index must fit into an i32.
    let most = i32::try_from(BUCKETS).unwrap_or(i32::MAX);
    if is_large {
        Some("count")
    } else if buckets().any(|buckets| buckets.offset.checked_add(most).is_none()) {
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
    use crate::aggregate::histogram::{Buckets, Histogram};
    use crate::aggregate::store::ExportError;
    use crate::aggregate::wire::{Data, HistogramPoint, Metric, Number, NumberPoint};
    use std::sync::Arc;

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

    fn of(histogram: Histogram) -> Result<(), ExportError> {
        let point = HistogramPoint {
            histogram: Arc::new(histogram),
            ..HistogramPoint::default()
        };
        within_bounds(&Metric {
            name: "waits",
            data: Some(Data::ExponentialHistogram {
                points: vec![point],
                temporality: 2,
            }),
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
        let buckets = |offset, counts| Histogram {
            positive: Buckets { offset, counts },
            ..Histogram::default()
        };
        let scaled = |scale| Histogram {
            scale,
            ..Histogram::default()
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
            let point = NumberPoint {
                value: Some(Number::Int(count)),
                ..NumberPoint::default()
            };
            within_bounds(&Metric {
                name: "checks.total",
                data: Some(Data::Sum {
                    points: vec![point],
                    temporality: 2,
                }),
                ..Metric::default()
            })
        };
        assert_eq!(of(1 << 53), Ok(()));
        assert!(of((1 << 53) + 1).is_err() && of(i64::MIN).is_err());
    }
}
