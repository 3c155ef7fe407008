//! What the aggregator can take: reading an export, merging it, a merged view, judging, and memory, with exports that a
//! real k6 made. At the end, exports by second on one core beside what prost takes to read the same bytes. Run with
//! `cargo bench --bench aggregate`; `cargo bench --bench aggregate -- figure` prints only the last.
#![allow(missing_docs, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/aggregate/exports.rs"]
mod exports;
#[path = "support/figures.rs"]
mod figures;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use k6_operator::aggregate::Sink;
use k6_operator::aggregate::report::RunInfo;
use k6_operator::aggregate::session::Session;
use k6_operator::aggregate::store::{Export, Sender};
use k6_operator::aggregate::summary::Options;
use k6_operator::clock::Clock;
use k6_operator::k6::threshold::thresholds;
use k6_operator::programs::aggregate::server::{Aggregator, Names};
use k6_operator::protocol::tokens::Tokens;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ExponentialHistogramDataPoint;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

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

/// Reading an export, here and by prost.
fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decoding");
    group.bench_function("in place", |b| {
        b.iter(|| black_box(Export::decode(black_box(EXPORT)).unwrap()));
    });
    group.bench_function("by prost", |b| {
        b.iter(|| black_box(ExportMetricsServiceRequest::decode(black_box(EXPORT)).unwrap()));
    });
    group.finish();
}

/// The time of each of this many calls, in µs.
fn each(calls: u32, mut call: impl FnMut(u32)) -> f64 {
    let begun = Instant::now();
    (0..calls).for_each(&mut call);
    begun.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}

/// Exports of 1,000 runners, one after the other on one core, in turns with prost reading the same bytes.
fn figure() {
    const RUNNERS: u32 = 1000;
    let (aggregator, senders) = (aggregator(RUNNERS), senders(RUNNERS));
    let mut all = senders.iter().cycle();
    let pairs: Vec<_> = (0..21)
        .map(|_| {
            let taken = each(RUNNERS, |_| {
                aggregator.take(all.next().unwrap(), black_box(EXPORT)).unwrap()
            });
            let floor = each(RUNNERS, |_| {
                black_box(ExportMetricsServiceRequest::decode(black_box(EXPORT)).unwrap());
            });
            (taken, floor)
        })
        .collect();
    figures::print("an export of 1,000 runners, beside prost's reading", "µs", &pairs);
    let mut rates: Vec<f64> = pairs.iter().map(|(taken, _)| 1e6 / taken).collect();
    rates.sort_by(f64::total_cmp);
    println!(
        "    exports a second: {:.0} ({:.0} to {:.0})",
        rates[10], rates[0], rates[20]
    );
    // What was measured is what was meant: all that each runner has sent is counted once.
    let one = self::aggregator(1);
    one.take(&senders[0], EXPORT).unwrap();
    let count = |aggregator: &Aggregator| match aggregator.session().store.total("iterations", None) {
        Some(Sink::Counter(count)) => count,
        other => panic!("{other:?}"),
    };
    assert!(count(&one) > 0.0);
    assert_eq!(count(&aggregator), f64::from(RUNNERS) * count(&one));
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

criterion_group!(benches, decoding, exports_of_k6, view, judging);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|word| word == "figure") {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
    // `cargo test --benches` passes through here too.
    if arguments.iter().any(|word| word == "--bench") {
        figure();
    }
}
