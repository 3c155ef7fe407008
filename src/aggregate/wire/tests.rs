//! Exports are read as prost reads them, and what can't be read is named.

use super::{Attribute, Attributes, Data, Export, HistogramPoint, Metric, Number, NumberPoint, WireError};
use crate::aggregate::bounds::BUCKETS;
use crate::aggregate::histogram::{Buckets, Histogram};
use crate::aggregate::moment::UnixNanos;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as Theirs;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as OfMetric;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as OfPoint;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram as Explicit, Metric as OfExport,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;

/// An export that k6 1.1 sent.
const OF_K6: &[u8] = include_bytes!("../../../benches/export.otlp");

fn attribute(of: &KeyValue) -> Attribute<'_> {
    let value = of.value.as_ref().and_then(|value| value.value.as_ref());
    let text = if let Some(Any::StringValue(text)) = value {
        text.as_str()
    } else {
        ""
    };
    Attribute { key: &of.key, text }
}

/// Adds the tags of a point to those of all.
fn added<'a>(all: &mut Vec<Attribute<'a>>, of: &'a [KeyValue]) -> Attributes {
    let from = all.len();
    all.extend(of.iter().map(attribute));
    Attributes { from, to: all.len() }
}

fn number<'a>(of: &'a NumberDataPoint, all: &mut Vec<Attribute<'a>>) -> NumberPoint {
    NumberPoint {
        attributes: added(all, &of.attributes),
        time: UnixNanos(of.time_unix_nano),
        value: of.value.map(|value| match value {
            OfPoint::AsDouble(value) => Number::Double(value),
            OfPoint::AsInt(value) => Number::Int(value),
        }),
    }
}

fn histogram<'a>(of: &'a ExponentialHistogramDataPoint, all: &mut Vec<Attribute<'a>>) -> HistogramPoint {
    let buckets = |of: &Option<Theirs>| {
        of.clone().map_or_else(Buckets::default, |of| Buckets {
            offset: of.offset,
            counts: of.bucket_counts,
        })
    };
    HistogramPoint {
        attributes: added(all, &of.attributes),
        time: UnixNanos(of.time_unix_nano),
        histogram: Arc::new(Histogram {
            scale: of.scale,
            zeros: of.zero_count,
            zero_threshold: of.zero_threshold,
            positive: buckets(&of.positive),
            negative: buckets(&of.negative),
            count: of.count,
            sum: of.sum.unwrap_or_default(),
            min: of.min.unwrap_or(f64::NEG_INFINITY),
            max: of.max.unwrap_or(f64::INFINITY),
        }),
    }
}

/// What prost has read.
fn expected(of: &ExportMetricsServiceRequest) -> Export<'_> {
    let mut attributes = Vec::new();
    let all = &mut attributes;
    let scopes = of.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    let metrics = scopes.flat_map(|of| &of.metrics).map(|of| Metric {
        name: &of.name,
        unit: &of.unit,
        data: of.data.as_ref().map(|data| match data {
            OfMetric::Gauge(of) => {
                Data::Gauge(of.data_points.iter().map(|point| number(point, all)).collect())
            }
            OfMetric::Sum(of) => Data::Sum {
                points: of.data_points.iter().map(|point| number(point, all)).collect(),
                temporality: of.aggregation_temporality,
            },
            OfMetric::ExponentialHistogram(of) => Data::ExponentialHistogram {
                points: of.data_points.iter().map(|point| histogram(point, all)).collect(),
                temporality: of.aggregation_temporality,
            },
            OfMetric::Histogram(_) => Data::Histogram,
            OfMetric::Summary(_) => Data::Summary,
        }),
    });
    let metrics = metrics.collect();
    Export { metrics, attributes }
}

#[test]
fn export_of_k6_is_read_as_prost_reads_it_also_where_it_is_cut() {
    let whole = ExportMetricsServiceRequest::decode(OF_K6).unwrap();
    assert_eq!(Export::decode(OF_K6), Ok(expected(&whole)));
    assert!(whole.resource_metrics[0].scope_metrics[0].metrics.len() > 10);
    for end in (0..OF_K6.len()).step_by(13) {
        let cut = &OF_K6[..end];
        let is_whole = ExportMetricsServiceRequest::decode(cut).is_ok();
        assert_eq!(Export::decode(cut).is_ok(), is_whole, "{end}");
    }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let value = prop_oneof![
        "[a-zä]{0,9}".prop_map(Any::StringValue),
        any::<i64>().prop_map(Any::IntValue),
        any::<bool>().prop_map(Any::BoolValue),
    ];
    let value = option::of(option::of(value).prop_map(|value| AnyValue { value }));
    let one = ("[a-zä]{0,9}", value).prop_map(|(key, value)| KeyValue {
        key,
        value,
        ..KeyValue::default()
    });
    vec(one, 0..4)
}

fn numbers() -> impl Strategy<Value = Vec<NumberDataPoint>> {
    let value = prop_oneof![
        (-1e9..1e9).prop_map(OfPoint::AsDouble),
        any::<i64>().prop_map(OfPoint::AsInt),
    ];
    let one = (attributes(), any::<u64>(), option::of(value));
    let one = one.prop_map(|(attributes, time, value)| NumberDataPoint {
        attributes,
        start_time_unix_nano: time / 2,
        time_unix_nano: time,
        value,
        flags: 1,
        ..NumberDataPoint::default()
    });
    vec(one, 0..4)
}

fn histograms() -> impl Strategy<Value = Vec<ExponentialHistogramDataPoint>> {
    let buckets = || {
        let buckets = (any::<i32>(), vec(any::<u64>(), 0..5));
        option::of(buckets.prop_map(|(offset, bucket_counts)| Theirs {
            offset,
            bucket_counts,
        }))
    };
    let double = || option::of(-1e9..1e9);
    let one = (
        attributes(),
        any::<(u64, u64, u64, i32)>(),
        (double(), double(), double()),
        buckets(),
        buckets(),
    );
    let one = one.prop_map(
        |(attributes, (time, count, zero_count, scale), (sum, min, max), positive, negative)| {
            ExponentialHistogramDataPoint {
                attributes,
                time_unix_nano: time,
                count,
                zero_count,
                scale,
                sum,
                min,
                max,
                positive,
                negative,
                zero_threshold: 0.5,
                ..ExponentialHistogramDataPoint::default()
            }
        },
    );
    vec(one, 0..4)
}

fn metric() -> impl Strategy<Value = OfExport> {
    let data = prop_oneof![
        numbers().prop_map(|data_points| OfMetric::Gauge(Gauge { data_points })),
        (numbers(), -1..4).prop_map(|(data_points, aggregation_temporality)| OfMetric::Sum(Sum {
            data_points,
            aggregation_temporality,
            is_monotonic: true,
        })),
        (histograms(), -1..4).prop_map(|(data_points, aggregation_temporality)| {
            OfMetric::ExponentialHistogram(ExponentialHistogram {
                data_points,
                aggregation_temporality,
            })
        }),
        Just(OfMetric::Histogram(Explicit::default())),
        Just(OfMetric::Summary(Summary::default())),
    ];
    ("[a-z_]{0,9}", "[a-zA-Z]{0,2}", option::of(data)).prop_map(|(name, unit, data)| OfExport {
        name,
        description: "skipped".to_owned(),
        unit,
        data,
        ..OfExport::default()
    })
}

proptest! {
    #[test]
    fn every_export_is_read_as_prost_reads_it(metrics in vec(vec(metric(), 0..4), 0..3)) {
        let scopes = metrics.into_iter().map(|metrics| ScopeMetrics { metrics, ..ScopeMetrics::default() });
        let resource = ResourceMetrics { scope_metrics: scopes.collect(), ..ResourceMetrics::default() };
        let export = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
        let bytes = export.encode_to_vec();
        prop_assert_eq!(Export::decode(&bytes), Ok(expected(&export)));
    }

    #[test]
    fn bytes_of_any_kind_are_read_or_refused(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)
    ) {
        let mut bytes = OF_K6.to_vec();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = Export::decode(&bytes);
    }
}

/// A field whose number and length fit into a byte each.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    bytes.extend(content);
    bytes
}

#[test]
fn counts_are_read_packed_or_one_by_one_and_no_more_than_are_judged() {
    let one_by_one = super::buckets(&[0x10, 3, 0x10, 0x80, 1, 0x08, 3]);
    let packed = super::buckets(&[0x12, 3, 3, 0x80, 1, 0x08, 3]);
    let counts = vec![3, 128];
    assert_eq!(one_by_one, Ok(Buckets { offset: -2, counts }));
    assert_eq!(packed, one_by_one);
    let mut many = vec![0x12, 0x90, 0x4e];
    many.extend([0; 10_000]);
    assert_eq!(super::buckets(&many).unwrap().counts.len(), BUCKETS + 1);
}

#[test]
fn what_can_not_be_read_is_named() {
    let of_metric = |content: &[u8]| {
        let bytes = field(1, &field(2, &field(2, content)));
        Export::decode(&bytes).map(|_| ())
    };
    assert_eq!(of_metric(&[]), Ok(()));
    assert_eq!(of_metric(&[0x0a, 2, b'a']), Err(WireError::Truncated));
    assert_eq!(of_metric(&[0x08, 1]), Err(WireError::Type(1)));
    assert_eq!(of_metric(&[0x0b]), Err(WireError::Type(1)));
    assert_eq!(of_metric(&[0x80; 11]), Err(WireError::Number));
    assert!(matches!(of_metric(&[0x0a, 1, 0xff]), Err(WireError::Text(_))));
}
