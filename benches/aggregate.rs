//! What the aggregator can take: exports by second on one core, the time of a merged view, and memory, with exports
//! that a real k6 made. Run with `cargo bench --bench aggregate`.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use k6_operator::aggregate::live::Live;
use k6_operator::aggregate::report::About;
use k6_operator::aggregate::server::{Aggregator, Names};
use k6_operator::aggregate::store::Sender;
use k6_operator::aggregate::summary::Options;
use k6_operator::operator::Clock;
use serde_json::Value;
use std::hint::black_box;

/// An export of one runner of the script in tests/aggregate/truth.rs, as k6 1.1 sent it.
const EXPORT: &[u8] = include_bytes!("export.otlp");

fn aggregator(runners: u32) -> Aggregator {
    let names = Names {
        run: "run".to_owned(),
        about: About::default(),
        options: Options::of(&Value::Null),
    };
    Aggregator::new(
        names,
        Live::new(runners, false, Vec::new()),
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

fn exports(c: &mut Criterion) {
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
            b.iter(|| black_box(aggregator.live().store.view()));
        });
    }
    group.finish();
}

criterion_group!(benches, exports, view);
criterion_main!(benches);
