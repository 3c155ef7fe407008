//! What the aggregator can take: exports by second on one core, the time of a merged view, and memory, with exports
//! that a real k6 made. Run with `cargo bench --bench aggregate`.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/aggregate/exports.rs"]
mod exports;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use k6_operator::aggregate::report::RunInfo;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::Sender;
use k6_operator::aggregate::summary::Options;
use k6_operator::clock::Clock;
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::aggregate::server::{Aggregator, Names};
use k6_operator::protocol::tokens::Tokens;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hint::black_box;

/// An export of one runner of the script in tests/aggregate/truth.rs, as k6 1.1 sent it.
const EXPORT: &[u8] = include_bytes!("export.otlp");

fn aggregator(runners: u32) -> Aggregator {
    let names = Names {
        token: Tokens::random().unwrap().aggregator.hash(),
        about: RunInfo::default(),
        options: Options::of(&Value::Null),
    };
    Aggregator::new(
        names,
        Session::new(runners, false, Vec::new()),
        None,
        &Clock::system(),
    )
}

fn senders(runners: u32) -> Vec<Sender> {
    let sender = |runner| Sender {
        runner,
        process: format!("0d6a3c1e-0000-4000-8000-{runner:012}"),
    };
    (1..=runners).map(sender).collect()
}

/// The resident memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

fn exports_of_k6(c: &mut Criterion) {
    println!("an export has {} bytes", EXPORT.len());
    let mut group = c.benchmark_group("exports");
    group.throughput(Throughput::Elements(1));
    for runners in [8, 1000] {
        let (aggregator, senders) = (aggregator(runners), senders(runners));
        let before = resident();
        for sender in &senders {
            aggregator.take(sender, EXPORT).unwrap();
        }
        println!("{runners} runners take {:.1} MiB", resident() - before);
        let mut all = senders.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(runners), |b| {
            b.iter(|| aggregator.take(all.next().unwrap(), black_box(EXPORT)).unwrap());
        });
        println!("{runners} runners took {:.1} MiB at the end", resident() - before);
    }
    group.finish();
}

fn view(c: &mut Criterion) {
    let mut group = c.benchmark_group("view");
    for runners in [8, 1000] {
        let aggregator = aggregator(runners);
        for sender in &senders(runners) {
            aggregator.take(sender, EXPORT).unwrap();
        }
        group.bench_function(BenchmarkId::from_parameter(runners), |b| {
            b.iter(|| black_box(aggregator.session().store.view()));
        });
    }
    group.finish();
}

/// An export of 490 series of ten metrics, that no other runner has.
fn of_many_series(runner: u32) -> Vec<u8> {
    let urls: Vec<_> = (0..49).map(|url| format!("http://shop/{runner}/{url}")).collect();
    let tags =
        |url: &str| exports::tags(&[("method", "GET"), ("name", url), ("status", "200"), ("url", url)]);
    let trends = (0..9).map(|metric| {
        let mut trend = exports::trend(&format!("http_req_{metric}"), 1, &[3, 4, 5], 12);
        if let Some(Data::ExponentialHistogram(histogram)) = &mut trend.data {
            let point = histogram.data_points.remove(0);
            let of = |url: &String| ExponentialHistogramDataPoint {
                attributes: tags(url),
                ..point.clone()
            };
            histogram.data_points = urls.iter().map(of).collect();
        }
        trend
    });
    let count = |url: &String| exports::point(1, Number::AsDouble(12.0), &[("url", url)]);
    let requests = exports::sum("http_reqs", exports::CUMULATIVE, urls.iter().map(count).collect());
    exports::export(trends.chain([requests]))
}

/// Thresholds on all of ten metrics, judged over 200 runners of 490 series each, as it is done every 2 s; and how long
/// a runner waits for its answer meanwhile.
fn judging(c: &mut Criterion) {
    const RUNNERS: u32 = 200;
    let given: BTreeMap<_, _> = (0..9)
        .map(|metric| (format!("http_req_{metric}"), ["p(95)<500", "max<1000"]))
        .collect();
    let given = json!({"thresholds": given});
    let session = Session::new(RUNNERS, false, thresholds(&given).unwrap());
    let names = Names {
        token: Tokens::random().unwrap().aggregator.hash(),
        about: RunInfo::default(),
        options: Options::of(&Value::Null),
    };
    let aggregator = Aggregator::new(names, session, None, &Clock::system());
    let word = |word: Value| serde_json::from_value(word).unwrap();
    let now = aggregator.now();
    for sender in &senders(RUNNERS) {
        aggregator.take(sender, &of_many_series(sender.runner)).unwrap();
        let running = word(json!({"phase": "running", "startedAgo": 60_000}));
        aggregator.session().hear(sender, running, now);
    }
    let mut group = c.benchmark_group("judging 200 runners of 490 series");
    group.sample_size(10);
    group.bench_function("off the lock", |b| {
        b.iter_batched(
            || aggregator.snapshot(),
            |snapshot| black_box(snapshot.look(now)),
            BatchSize::PerIteration,
        );
    });
    group.bench_function("under the lock", |b| b.iter(|| black_box(aggregator.snapshot())));
    group.finish();
}

criterion_group!(benches, exports_of_k6, view, judging);
criterion_main!(benches);
