//! Golden files.

use std::path::Path;

/// The files of a folder of the repository that end like this: their names without the ending, and their texts.
pub fn texts(folder: &str, ending: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|end| end == ending));
    let mut all: Vec<_> = files
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    all
}

/// Fails unless the file says exactly this. With `UPDATE=1` in the environment it is written anew.
pub fn golden(path: &str, text: &str, remedy: &str) {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(full.parent().unwrap()).unwrap();
        std::fs::write(&full, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&full).unwrap_or_default();
    let line = found.lines().zip(text.lines()).position(|(a, b)| a != b);
    assert!(
        found == text,
        "{path} is stale (first difference: line {}): {remedy}\nin the file:   {:?}\nfrom the code: {:?}",
        line.map_or_else(|| "past the end".to_owned(), |i| (i + 1).to_string()),
        line.and_then(|i| found.lines().nth(i)),
        line.and_then(|i| text.lines().nth(i)),
    );
}

use jiff::{SignedDuration, Timestamp};
use k6_operator::machine::{
    Effect, End, Event, Fact, Initializer, Inspection, Observed, ObservedPod, Plan, Program, ProgramSource,
    Record, Runner, State, Step, Target, Terms, classify, effects, step,
};
use k6_operator::protocol::report::Report;
use std::collections::BTreeMap;

/// Seconds after the beginning of time.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub fn record(seconds: i64, event: Event) -> Record {
    Record {
        time: at(seconds),
        event,
    }
}

/// The state after these events, none of which may be refused; the k-th happens at second k.
pub fn after(events: impl IntoIterator<Item = Event>) -> State {
    let mut state = State::default();
    for (second, event) in (0..).zip(events) {
        state = match step(&state, &record(second, event.clone())) {
            Step::Next(next) => next,
            Step::Unchanged => state,
            Step::Refused => panic!("{event:?} is refused in {state:?}"),
        };
    }
    state
}

pub fn terms(parallelism: u32) -> Terms {
    Terms {
        parallelism,
        initialization_timeout: SignedDuration::from_secs(300),
        start_timeout: SignedDuration::from_secs(300),
        ..Terms::default()
    }
}

/// A world in which everything is known and nothing exists but the script.
pub fn empty_world(parallelism: u32) -> Observed {
    Observed {
        script: Fact::Known(Ok(())),
        initializer: Fact::Absent,
        runners: Fact::Known(BTreeMap::new()),
        starter: Fact::Absent,
        stopper: Fact::Absent,
        ..Observed::unknown(1, Ok(terms(parallelism)))
    }
}

/// What k6 says of a script with this many virtual users.
pub fn inspection(max_vus: u64) -> Inspection {
    Inspection {
        max_vus,
        total_duration: "1m30s".to_owned(),
        longest: SignedDuration::from_secs(90),
        setup_timeout: SignedDuration::from_secs(90),
        teardown_timeout: SignedDuration::from_secs(30),
        left_out: false,
        tags: BTreeMap::new(),
        rps: None,
        system_tags: None,
        names_no_own_tag: false,
        spare_scenario: false,
        spare_group: false,
        script_metrics: Default::default(),
        thresholds: 1,
        threshold_error: None,
        version: None,
        options: "{}".to_owned(),
    }
}

/// A runner whose k6 answers and waits, or runs.
pub fn ready(i: u32) -> Runner {
    Runner {
        pod: Some(ObservedPod {
            uid: format!("pod-{i}"),
            ip: Some(format!("10.0.0.{i}")),
            ready: true,
            waiting: None,
        }),
        ..Runner::default()
    }
}

/// A runner whose pod waits for something.
pub fn waiting(i: u32, why: &str) -> Runner {
    Runner {
        pod: Some(ObservedPod {
            uid: format!("pod-{i}"),
            waiting: Some(why.to_owned()),
            ..ObservedPod::default()
        }),
        ..Runner::default()
    }
}

/// A runner that has ended with this exit code.
pub fn ended(i: u32, code: i32) -> Runner {
    let (reason, message) = match code {
        0 => (None, ""),
        99 => (
            None,
            "thresholds on metrics 'http_req_duration' have been crossed",
        ),
        103 => (None, "test run stopped from REST API"),
        105 => (
            None,
            "test run was aborted because k6 received a 'terminated' signal",
        ),
        107 => (None, "ReferenceError: x is not defined"),
        108 => (None, "test aborted: enough"),
        110 => (None, "test marked as failed: no stock"),
        137 => (Some("OOMKilled"), "the container was killed"),
        _ => (None, "unknown"),
    };
    let end = End {
        code: Some(code),
        reason: reason.map(str::to_owned),
        message: message.to_owned(),
    };
    Runner {
        end: Some(end),
        ..ready(i)
    }
}

pub fn runners(runners: impl IntoIterator<Item = Runner>) -> Fact<BTreeMap<u32, Runner>> {
    Fact::Known((1..).zip(runners).collect())
}

pub fn inspected(max_vus: u64) -> Fact<Initializer> {
    Fact::Known(Initializer::Succeeded(Ok(inspection(max_vus))))
}

pub fn reported(confirmed: u32, total: u32) -> Fact<Program> {
    Fact::Known(Program::Reported(Report {
        total,
        ordered: 0,
        confirmed,
        spread_micros: 1500,
        failures: Vec::new(),
        aborted: false,
    }))
}

/// The digest of the pods of the first `n` ready runners, as the machine itself computes it.
pub fn digest(n: u32) -> String {
    let mut seen = empty_world(n);
    seen.runners = runners((1..=n).map(ready));
    match k6_operator::machine::classify(&created(n), &seen, at(3)) {
        Some(Event::StartOrdered { pods, .. }) => pods,
        other => panic!("no order to start but {other:?}"),
    }
}

pub fn happy(n: u32) -> Vec<Event> {
    let Some(inspected) = k6_operator::machine::classify(
        &after([accepted(n)]),
        &Observed {
            initializer: inspected(u64::from(n) * 10),
            ..empty_world(n)
        },
        at(1),
    ) else {
        panic!("not inspected")
    };
    vec![accepted(n), inspected]
}

pub fn accepted(parallelism: u32) -> Event {
    accepted_on(1, terms(parallelism))
}

pub fn accepted_on(generation: i64, terms: Terms) -> Event {
    Event::Accepted {
        generation,
        rerun: None,
        terms,
    }
}

pub fn initializing(n: u32) -> State {
    after([accepted(n)])
}

/// Since second 1.
pub fn created(n: u32) -> State {
    after(happy(n))
}

pub fn ordered(n: u32) -> Event {
    Event::StartOrdered {
        runners: n,
        pods: digest(n),
    }
}

/// Since second 2.
pub fn starting(n: u32) -> State {
    after(happy(n).into_iter().chain([ordered(n)]))
}

pub fn confirmed(n: u32) -> Event {
    Event::StartConfirmed {
        runners: n,
        spread_micros: 1500,
    }
}

/// Since second 3.
pub fn started(n: u32) -> State {
    after(happy(n).into_iter().chain([ordered(n), confirmed(n)]))
}

/// Since second 4.
pub fn stopping(n: u32) -> State {
    let passed = Event::DeadlinePassed {
        waiting_for: "the runners to end".to_owned(),
    };
    after(happy(n).into_iter().chain([ordered(n), confirmed(n), passed]))
}

/// What is known without k6 of a run that ends by itself.
pub fn plan(parallelism: u32) -> Plan {
    Plan {
        parallelism,
        max_vus: None,
        total_duration: None,
        thresholds: None,
        deadline_seconds: Some(600),
        stop_seconds: None,
        tags: BTreeMap::new(),
        rps: None,
        warning: None,
        aggregation: None,
        not_aggregated: Some(
            "k6 did not tell its version, and it is not known whether it can export its metrics".to_owned(),
        ),
        program: ProgramSource::Copied,
    }
}

/// What happens, and what is wanted after it.
pub fn outcome(state: &State, seen: &Observed, now: Timestamp) -> (Option<Event>, Vec<Effect>) {
    let Some(event) = classify(state, seen, now) else {
        return (None, effects(state, seen, now));
    };
    let record = Record {
        time: now,
        event: event.clone(),
    };
    match step(state, &record) {
        Step::Next(next) => (Some(event), effects(&next, seen, now)),
        Step::Unchanged | Step::Refused => panic!("{event:?} leads nowhere"),
    }
}

pub fn target(i: u32) -> Target {
    Target {
        runner: i,
        ip: format!("10.0.0.{i}"),
    }
}
