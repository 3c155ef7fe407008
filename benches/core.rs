//! What the pure core costs, for runs of 1, 100 and 1000 runners.
#![allow(missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::{SignedDuration, Timestamp};
use k6_operator::api::{Kind, Spec};
use k6_operator::machine::{
    Event, Fact, Observed, ObservedPod, Plan, Record, Run, Runner, Terms, classify, effects, replay, step,
};
use k6_operator::objects::{Common, Defaults, Owner, ValidatedRun, runner, validate};
use std::hint::black_box;

const SIZES: [u32; 3] = [1, 100, 1000];

fn record(event: Event) -> Record {
    let time = Timestamp::UNIX_EPOCH;
    Record { time, event }
}

fn terms(n: u32) -> Terms {
    Terms {
        parallelism: n,
        initialization_timeout: SignedDuration::from_mins(5),
        start_timeout: SignedDuration::from_mins(5),
        ..Terms::default()
    }
}

fn world(n: u32) -> Observed {
    let ready = |i| {
        let pod = ObservedPod {
            uid: format!("pod-{i}"),
            ip: Some("10.0.0.1".to_owned()),
            ready: true,
            waiting: None,
        };
        (
            i,
            Runner {
                pod: Some(pod),
                ..Runner::default()
            },
        )
    };
    Observed {
        script: Fact::Known(Ok(())),
        initializer: Fact::Absent,
        runners: Fact::Known((1..=n).map(ready).collect()),
        starter: Fact::Absent,
        stopper: Fact::Absent,
        ..Observed::unknown(1, Ok(terms(n)))
    }
}

fn history(n: u32) -> Vec<Record> {
    let plan = Plan {
        parallelism: n,
        max_vus: Some(u64::from(n) * 10),
        total_duration: Some("1m30s".to_owned()),
        thresholds: Some(1),
        deadline_seconds: Some(510),
        stop_seconds: None,
        tags: std::collections::BTreeMap::new(),
        rps: None,
        warning: None,
        aggregation: None,
        not_aggregated: None,
        program: k6_operator::machine::ProgramSource::Copied,
    };
    let accepted = Event::Accepted {
        generation: 1,
        rerun: None,
        terms: terms(n),
    };
    vec![record(accepted), record(Event::ScriptInspected { plan })]
}

fn core(criterion: &mut Criterion) {
    for n in SIZES {
        let seen = world(n);
        let history = history(n);
        let Ok(Run { state: created, .. }) = replay(&history) else {
            panic!("the run of {n} runners does not get here");
        };
        let now = Timestamp::UNIX_EPOCH;
        let Some(order) = classify(&created, &seen, now).map(record) else {
            panic!("the run of {n} runners does not get here");
        };
        let full = [history.as_slice(), std::slice::from_ref(&order)].concat();
        let Ok(Run { state: starting, .. }) = replay(&full) else {
            panic!("the run of {n} runners does not get here");
        };
        criterion.bench_function(&format!("step/{n}"), |b| {
            b.iter(|| step(black_box(&created), &order))
        });
        criterion.bench_function(&format!("replay/{n}"), |b| b.iter(|| replay(black_box(&full))));
        criterion.bench_function(&format!("classify and effects/{n}"), |b| {
            b.iter(|| {
                (
                    classify(black_box(&created), &seen, now),
                    effects(black_box(&starting), &seen, now),
                )
            })
        });
        build(criterion, n);
    }
}

fn build(criterion: &mut Criterion, n: u32) {
    let spec = Spec {
        parallelism: n.into(),
        script: "crocodile-stress-test".into(),
        ..Spec::default()
    };
    let owner = Owner {
        kind: Kind::K6,
        name: "k6-sample".to_owned(),
        namespace: "default".to_owned(),
        uid: "5f2a".to_owned(),
        generation: 1,
        attempt: 1,
    };
    let defaults = Defaults {
        runner_image: "grafana/k6:latest".to_owned(),
        starter_image: "operator".to_owned(),
        common: Common::default(),
    };
    let Ok(spec) = validate(&spec, &defaults) else {
        panic!("the run of {n} runners does not get here");
    };
    let run = ValidatedRun {
        owner,
        spec,
        plan: None,
    };
    criterion.bench_function(&format!("build one runner/{n}"), |b| {
        b.iter(|| runner(black_box(&run), (n, n), None))
    });
}

criterion_group!(benches, core);
criterion_main!(benches);
