//! How large the objects of a run are: by runner no larger the more runners there are. docs/limits.md has the figures.

use crate::objects::{defaults, merging, owner, run_of, spec};
use crate::support::{at, confirmed, ended, happy, ordered, record, runners, terms};
use k6_operator::api::Progress;
use k6_operator::machine::{Advanced, Aggregation, Observed, StateName, Target, advance, append, replay};
use k6_operator::objects::{ValidatedRun, aggregator, runner, sequence, starter, stopper, tokens};
use k6_operator::protocol::tokens::Tokens;
use serde::Serialize;
use serde_json::json;
use std::path::Path;

const COUNTS: [u32; 4] = [10, 100, 1000, 2000];

fn bytes(object: &impl Serialize) -> usize {
    serde_json::to_vec(object).unwrap().len()
}

fn plain(n: u32) -> ValidatedRun {
    let spec = spec(json!({"parallelism": n, "script": "checkout", "arguments": "--tag team=shop"}));
    run_of(&owner("checkout-nightly"), &spec, &defaults())
}

fn merged(n: u32) -> ValidatedRun {
    let aggregation = Aggregation {
        output: "opentelemetry".to_owned(),
        k6_version: "1.1.0".to_owned(),
        setup_seconds: Some(60),
        teardown_seconds: Some(60),
        system_tags: None,
        without_own_tags: false,
        script_metrics: Default::default(),
    };
    let mut run = merging(plain(n), &aggregation);
    if let Some(plan) = &mut run.plan {
        plan.parallelism = n;
    }
    run
}

fn targets(n: u32) -> Vec<Target> {
    let target = |i: u32| Target {
        runner: i,
        ip: format!("10.244.{}.{}", i / 250, i % 250),
    };
    (1..=n).map(target).collect()
}

/// The status of a run of which all runners have failed.
fn status(n: u32) -> usize {
    let events = happy(n).into_iter().chain([ordered(n), confirmed(n)]);
    let mut history = Vec::new();
    for (second, event) in (0..).zip(events) {
        append(&mut history, record(second, event));
    }
    let seen = Observed {
        runners: runners((1..=n).map(|i| ended(i, 107))),
        ..Observed::unknown(1, Ok(terms(n)))
    };
    let Advanced { run, history, .. } = advance(replay(&history).unwrap(), history, &seen, at(10));
    assert_eq!(run.state.name(), StateName::Finished);
    bytes(&run.status(history, &Progress::of(&run, &seen, &[])))
}

/// A row of the table: its name, and the bytes of all such objects of a run with so many runners.
type Row = (&'static str, fn(u32) -> usize);

const ROWS: [Row; 8] = [
    ("Job of a runner", |n| bytes(&runner(&plain(n), (n, n), None))),
    ("the same, merged", |n| {
        bytes(&runner(&merged(n), (n, n), Some("10.96.0.9:4318")))
    }),
    ("ConfigMap with the segments", |n| {
        sequence(&plain(n).owner, n).map_or(0, |map| bytes(&map))
    }),
    ("Job of the starter", |n| bytes(&starter(&merged(n), &targets(n)))),
    ("Job of the stopper", |n| bytes(&stopper(&merged(n), &targets(n)))),
    ("Job of the aggregator", |n| bytes(&aggregator(&merged(n), "{}"))),
    ("Secret with the tokens", |n| {
        bytes(&tokens(&merged(n).owner, &Tokens::random().unwrap()))
    }),
    ("status, all runners failed", status),
];

#[test]
fn objects_of_a_run_grow_no_faster_than_its_runners() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/limits.md")).unwrap();
    let mut table = String::new();
    let mut wrong = Vec::new();
    for (name, size) in ROWS {
        let sizes = COUNTS.map(size);
        let numbers: Vec<String> = sizes.iter().map(usize::to_string).collect();
        table.push_str(&format!("| {name} | {} |\n", numbers.join(" | ")));
        // What is not by runner is the same for all numbers; the rest is told here by the runners that are more.
        for (n, bytes) in COUNTS.into_iter().zip(sizes) {
            let more = (n - COUNTS[0]) as usize;
            assert!(bytes <= sizes[0] + 1000 + 64 * more, "{name}: {sizes:?}");
        }
        let written = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("| {name} | ")));
        let written: Vec<usize> = written
            .into_iter()
            .flat_map(|cells| cells.trim_end_matches('|').split('|'))
            .map(|cell| cell.trim().replace(',', "").parse().unwrap())
            .collect();
        // They need not be rewritten for a few letters.
        let near = |(written, bytes): (&usize, &usize)| written.abs_diff(*bytes) * 20 <= *bytes;
        if written.len() != sizes.len() || !written.iter().zip(&sizes).all(near) {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "docs/limits.md has other figures for {wrong:?}; these are:\n{table}"
    );
    // A Job is the same whatever the others are, but for its numbers and a short sequence.
    let job = ROWS[1].1;
    assert!(job(2000) < job(10) + 200 && job(100) < job(10) + 700);
    assert!(status(2000) < status(100) + 100);
}
