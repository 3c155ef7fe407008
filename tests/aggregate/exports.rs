//! Exports made by hand.

use k6_operator::aggregate::moment::Moment;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use prost::Message;
use std::time::Duration;

pub const CUMULATIVE: i32 = 2;
pub const DELTA: i32 = 1;

/// A time of the aggregator's clock, in ms after its origin.
pub const fn at(millis: u64) -> Moment {
    Moment::after_origin(Duration::from_millis(millis))
}

pub fn export(metrics: impl IntoIterator<Item = Metric>) -> Vec<u8> {
    let scope = ScopeMetrics {
        metrics: metrics.into_iter().collect(),
        ..ScopeMetrics::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    request.encode_to_vec()
}

pub fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

pub fn tags(tags: &[(&str, &str)]) -> Vec<KeyValue> {
    let tag = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue {
            value: Some(Any::StringValue((*value).to_owned())),
        }),
        ..KeyValue::default()
    };
    tags.iter().map(tag).collect()
}

pub fn point(time: u64, value: Number, of: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: tags(of),
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

pub fn sum(name: &str, temporality: i32, points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum {
        data_points: points,
        aggregation_temporality: temporality,
        is_monotonic: true,
    };
    metric(name, Data::Sum(sum))
}

pub fn counter(name: &str, time: u64, value: f64) -> Metric {
    sum(name, CUMULATIVE, vec![point(time, Number::AsDouble(value), &[])])
}

pub fn gauge(name: &str, time: u64, value: f64) -> Metric {
    let gauge = Gauge {
        data_points: vec![point(time, Number::AsDouble(value), &[])],
    };
    metric(name, Data::Gauge(gauge))
}

/// Of `counts` values in the buckets from index 0 on, at scale 0.
pub fn trend(name: &str, time: u64, counts: &[u64], claimed: u64) -> Metric {
    let point = ExponentialHistogramDataPoint {
        time_unix_nano: time,
        count: claimed,
        sum: Some(1.0),
        min: Some(1.5),
        max: Some(6.0),
        positive: Some(Buckets {
            offset: 0,
            bucket_counts: counts.to_vec(),
        }),
        ..ExponentialHistogramDataPoint::default()
    };
    let histogram = ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: CUMULATIVE,
    };
    metric(name, Data::ExponentialHistogram(histogram))
}
