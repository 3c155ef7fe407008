//! What runners send to the aggregator: exports of OTLP, and words about themselves. Whatever comes, nothing panics,
//! each answer and document can still be made, and no small input takes long.
//!
//! `corpus/export` is made by [`seeds`]: write it anew with `WRITE_SEEDS=1`.

use crate::mutate;
use k6_operator::aggregate::moment::Moment;
use k6_operator::aggregate::report::{Report, RunInfo};
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::aggregate::summary::{self, Options};
use k6_operator::aggregate::{handle_summary, prometheus};
use k6_operator::k6::threshold::thresholds;
use k6_operator::protocol::heartbeat::Heartbeat;
use k6_operator::protocol::outcome::Outcome;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a case may take on a busy machine, with a debug build.
const LONGEST: Duration = Duration::from_secs(10);

const CUMULATIVE: i32 = 2;
const DELTA: i32 = 1;

fn tags(of: &[(&str, &str)]) -> Vec<KeyValue> {
    let tag = |(key, value): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue {
            value: Some(Any::StringValue((*value).to_owned())),
        }),
        ..KeyValue::default()
    };
    of.iter().map(tag).collect()
}

fn number(value: Number, of: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        attributes: tags(of),
        time_unix_nano: 1_000_000_000,
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn int(count: i64, of: &[(&str, &str)]) -> NumberDataPoint {
    number(Number::AsInt(count), of)
}

fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn sum(name: &str, temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    let sum = Sum {
        data_points,
        aggregation_temporality: temporality,
        is_monotonic: true,
    };
    metric(name, Data::Sum(sum))
}

fn gauge(name: &str, value: f64) -> Metric {
    let data_points = vec![number(Number::AsDouble(value), &[])];
    metric(name, Data::Gauge(Gauge { data_points }))
}

fn trend(name: &str, point: ExponentialHistogramDataPoint) -> Metric {
    let histogram = ExponentialHistogram {
        data_points: vec![point],
        aggregation_temporality: CUMULATIVE,
    };
    metric(name, Data::ExponentialHistogram(histogram))
}

/// Of these counts, at this scale from this index on.
fn buckets(scale: i32, offset: i32, bucket_counts: Vec<u64>) -> ExponentialHistogramDataPoint {
    ExponentialHistogramDataPoint {
        time_unix_nano: 1_000_000_000,
        count: bucket_counts
            .iter()
            .fold(0, |sum, count| u64::saturating_add(sum, *count)),
        sum: Some(1.0),
        scale,
        min: Some(1.0),
        max: Some(2.0),
        positive: Some(Buckets {
            offset,
            bucket_counts,
        }),
        ..ExponentialHistogramDataPoint::default()
    }
}

fn export(metrics: Vec<Metric>) -> Vec<u8> {
    let scope = ScopeMetrics {
        metrics,
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

/// Inputs of a review, and what k6 sends.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let ok = &[("check", "ok"), ("group", "::a::b")];
    let halves = vec![
        int(3, &[("check", "ok"), ("condition", "nonzero")]),
        int(2, &[("check", "ok"), ("condition", "zero")]),
        int(9, &[("otel.metric.overflow", "true")]),
    ];
    let deep = "::a".repeat(20_000);
    let deep = deep.as_str();
    let negative = ExponentialHistogramDataPoint {
        positive: None,
        negative: buckets(3, -7, vec![1, 2, 3]).positive,
        count: 8,
        zero_count: 2,
        ..buckets(3, 0, Vec::new())
    };
    vec![
        (
            "ordinary",
            export(vec![
                sum(
                    "http_reqs",
                    CUMULATIVE,
                    vec![number(Number::AsDouble(5.0), &[("name", "a")])],
                ),
                gauge("vus", 2.0),
                sum("checks", CUMULATIVE, halves),
                trend("http_req_duration", buckets(3, 10, vec![1, 0, 4])),
                trend("group_duration", buckets(2, 1, vec![1])),
            ]),
        ),
        (
            "two-counters",
            export(vec![
                sum("checks.occurred", CUMULATIVE, vec![int(2, ok)]),
                sum("checks.total", CUMULATIVE, vec![int(3, ok)]),
            ]),
        ),
        (
            "more-hits-than-values",
            export(vec![
                sum("checks.occurred", CUMULATIVE, vec![int(9, ok)]),
                sum("checks.total", CUMULATIVE, vec![int(3, ok)]),
            ]),
        ),
        ("negative", export(vec![trend("waits", negative)])),
        (
            "scale-of-the-least-i32",
            export(vec![
                trend("http_req_duration", buckets(i32::MIN, 0, vec![1])),
                trend("waits", buckets(3, 0, vec![1])),
            ]),
        ),
        (
            "scales-far-apart",
            export(vec![
                trend("waits", buckets(20, i32::MAX - 400, vec![1; 160])),
                trend("waits", buckets(-10, 0, vec![1])),
                trend("waits", buckets(20, i32::MIN, vec![1; 160])),
            ]),
        ),
        (
            "many-zero-buckets",
            export(vec![trend("waits", buckets(3, 0, vec![0; 100_000]))]),
        ),
        (
            "counts-of-the-largest-u64",
            export(vec![trend("waits", buckets(3, 0, vec![u64::MAX; 3]))]),
        ),
        (
            "counts-of-the-largest-i64",
            export(vec![
                sum(
                    "checks.total",
                    CUMULATIVE,
                    vec![int(i64::MAX, ok), int(i64::MIN, &[])],
                ),
                sum("checks.occurred", CUMULATIVE, vec![int(i64::MAX, ok)]),
            ]),
        ),
        (
            "deep-group",
            export(vec![
                sum(
                    "checks.total",
                    CUMULATIVE,
                    vec![int(1, &[("group", deep), ("check", "ok")])],
                ),
                sum(
                    "http_reqs",
                    CUMULATIVE,
                    vec![number(Number::AsDouble(1.0), &[("group", deep)])],
                ),
            ]),
        ),
        (
            "name-with-line-ends",
            export(vec![gauge("x 1\nup{job=\"payments\"} 0\n#", 1.0)]),
        ),
        (
            "no-numbers",
            export(vec![
                gauge("waits", f64::NAN),
                sum(
                    "http_reqs",
                    CUMULATIVE,
                    vec![number(Number::AsDouble(f64::INFINITY), &[])],
                ),
                sum(
                    "iterations",
                    CUMULATIVE,
                    vec![number(Number::AsDouble(f64::NEG_INFINITY), &[])],
                ),
            ]),
        ),
        ("delta", export(vec![sum("http_reqs", DELTA, vec![int(1, &[])])])),
        (
            "other-types",
            export(vec![
                metric("a", Data::Histogram(Histogram::default())),
                metric("b", Data::Summary(Summary::default())),
            ]),
        ),
        (
            "two-types-of-one-name",
            export(vec![
                gauge("checks", 1.0),
                sum("checks.total", CUMULATIVE, vec![int(1, ok)]),
            ]),
        ),
        ("nothing", Vec::new()),
    ]
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/export")
}

#[test]
fn corpus_of_exports_is_that_of_the_seeds() {
    for (name, bytes) in seeds() {
        let path = folder().join(format!("{name}.otlp"));
        if std::env::var_os("WRITE_SEEDS").is_some() {
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).is_ok_and(|file| file == bytes), "{name}");
    }
    assert_eq!(std::fs::read_dir(folder()).unwrap().count(), seeds().len());
}

fn session() -> Session {
    let given = json!({
        "thresholds": {
            "checks": ["rate>0.5"], "checks{check:ok}": ["rate>0.5"], "http_reqs": ["count>1", "rate<9"],
            "http_req_duration": ["p(95)<500", "avg<9"], "waits": ["max<5", "min>1", "p(100)<3", "med<2"],
            "http_reqs{instance_id:1}": ["count<9"],
        }
    });
    Session::new(2, false, thresholds(&given).unwrap())
}

fn sender(runner: u32) -> Sender {
    Sender {
        runner,
        process: "a".to_owned(),
    }
}

/// All that is made of what has come.
fn all_of(session: &Session, now: Moment) {
    let options = Options::of(&json!({}));
    let report = Report::of(RunInfo::default(), session, &options, None, now);
    json!(report).to_string();
    report.page();
    summary::data(session, &options, now).to_string();
    summary::text(session, &options, now);
    summary::machine_readable(session, &options, now).to_string();
    let scraped = prometheus::text(session).unwrap();
    assert!(
        scraped
            .lines()
            .all(|line| line.starts_with("k6_") || line.starts_with("# ")),
        "{scraped}"
    );
    Outcome::of(session, now);
    serde_json::to_string(&handle_summary::Handled::default()).unwrap();
}

fn tried(exports: &[Vec<u8>], words: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let began = Instant::now();
    let mut session = session();
    let mut now = Moment::after_origin(Duration::from_secs(1));
    for (at, bytes) in exports.iter().enumerate() {
        let runner = u32::try_from(at % 2).unwrap() + 1;
        if let Ok(export) = Export::decode(bytes) {
            let _ = session.export(&sender(runner), &export, now);
        }
        now = now + Duration::from_secs(1);
        session.tick(now);
    }
    for (at, word) in words.iter().enumerate() {
        let runner = u32::try_from(at % 2).unwrap() + 1;
        if let Ok(word) = serde_json::from_slice::<Heartbeat>(word) {
            session.hear(&sender(runner), word, now);
        }
        now = now + Duration::from_millis(500);
        session.tick(now);
    }
    all_of(&session, now);
    session.conclude(now);
    all_of(&session, now);
    prop_assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
    Ok(())
}

fn ended() -> Vec<u8> {
    br#"{"phase":"ended","startedAgo":9000,"endedAgo":2000,"own":{"checks":{"rate":0.5}},"letGo":true}"#
        .to_vec()
}

#[test]
fn each_export_and_each_word_of_the_corpus_leaves_a_result() {
    let exports: Vec<_> = mutate::corpus("export")
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    let words: Vec<_> = mutate::corpus("word")
        .into_iter()
        .map(|(_, bytes)| bytes)
        .collect();
    for (name, bytes) in mutate::corpus("export") {
        let tried = tried(&[bytes.clone(), exports[0].clone(), bytes], &[ended(), ended()]);
        tried.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    for (name, word) in mutate::corpus("word") {
        let tried = tried(&exports, &[word.clone(), ended(), word]);
        tried.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    tried(&exports, &words).unwrap();
}

/// A number that is not expected.
fn odd() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(0),
        Just(i64::MAX),
        Just(i64::MIN),
        Just(i64::from(i32::MAX)),
        Just(i64::from(i32::MIN)),
        Just(1 << 53),
        -50..50_i64,
        any::<i64>(),
    ]
}

/// Called for each number, with what sets it.
type Visit<'a> = dyn FnMut(&mut dyn FnMut(i64)) + 'a;

/// The numbers of an export, in their order, replaced where one is given.
fn replaced(bytes: &[u8], with: &[(Index, i64)]) -> Vec<u8> {
    let Ok(mut export) = ExportMetricsServiceRequest::decode(bytes) else {
        return bytes.to_vec();
    };
    let metrics = |export: &mut ExportMetricsServiceRequest, of: &mut Visit<'_>| {
        let resources = export.resource_metrics.iter_mut();
        let scopes = resources.flat_map(|resource| &mut resource.scope_metrics);
        for metric in scopes.flat_map(|scope| &mut scope.metrics) {
            match &mut metric.data {
                Some(Data::Sum(sum)) => {
                    for point in &mut sum.data_points {
                        of(&mut |new| point.value = Some(Number::AsInt(new)));
                        of(&mut |new| point.value = Some(Number::AsDouble(f64::from_bits(new as u64))));
                        of(&mut |new| point.time_unix_nano = new as u64);
                    }
                }
                Some(Data::Gauge(gauge)) => {
                    for point in &mut gauge.data_points {
                        of(&mut |new| point.value = Some(Number::AsDouble(f64::from_bits(new as u64))));
                        of(&mut |new| point.time_unix_nano = new as u64);
                    }
                }
                Some(Data::ExponentialHistogram(histogram)) => {
                    for point in &mut histogram.data_points {
                        of(&mut |new| point.scale = new as i32);
                        of(&mut |new| point.scale = (new % 31) as i32 - 10);
                        of(&mut |new| point.zero_count = new as u64);
                        of(&mut |new| point.zero_threshold = f64::from_bits(new as u64));
                        of(&mut |new| point.min = Some(f64::from_bits(new as u64)));
                        of(&mut |new| point.max = Some(f64::from_bits(new as u64)));
                        of(&mut |new| point.sum = Some(f64::from_bits(new as u64)));
                        for buckets in [&mut point.positive, &mut point.negative].into_iter().flatten() {
                            of(&mut |new| buckets.offset = new as i32);
                            let first = buckets.bucket_counts.first_mut();
                            if let Some(first) = first {
                                of(&mut |new| *first = new as u64 >> 12);
                            }
                        }
                        // Else most are refused for what does not add up.
                        let counts = [&point.positive, &point.negative].into_iter().flatten();
                        let counts = counts.flat_map(|buckets| &buckets.bucket_counts);
                        point.count = counts.fold(point.zero_count, |sum, count| sum.saturating_add(*count));
                        of(&mut |new| point.count = new as u64);
                    }
                }
                Some(Data::Histogram(_) | Data::Summary(_)) | None => {}
            }
        }
    };
    let mut places = 0_usize;
    metrics(&mut export, &mut |_| places += 1);
    let chosen: Vec<(usize, i64)> = with
        .iter()
        .filter(|_| places > 0)
        .map(|(at, new)| (at.index(places), *new))
        .collect();
    let mut place = 0;
    metrics(&mut export, &mut |set| {
        for (_, new) in chosen.iter().filter(|(at, _)| *at == place) {
            set(*new);
        }
        place += 1;
    });
    export.encode_to_vec()
}

/// An export of the corpus with other bytes, or with other numbers.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<Vec<u8>> = seeds().into_iter().map(|(_, bytes)| bytes).collect();
    let with = vec((any::<Index>(), odd()), 1..6);
    prop_oneof![
        2 => mutate::mutated("export"),
        3 => (any::<Index>(), with).prop_map(move |(which, with): (Index, Vec<(Index, i64)>)| replaced(which.get(&all).as_slice(), &with)),
    ]
}

proptest! {
    #![proptest_config(mutate::config(100))]

    #[test]
    fn whatever_is_exported_and_said_leaves_a_result(
        exports in vec(mutated(), 1..4),
        words in vec(mutate::mutated("word"), 0..3),
    ) {
        let words: Vec<_> = words.into_iter().chain([ended(), ended()]).collect();
        tried(&exports, &words)?;
    }
}
