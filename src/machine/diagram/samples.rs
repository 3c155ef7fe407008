//! Sample states and events, at least one of each kind.

use crate::machine::event::{Event, Former, Record, RunnerFailure, Tally};
use crate::machine::state::{Aggregation, Plan, Reason, RunResult, State};
use crate::machine::step::{Step, step};
use crate::machine::terms::{Start, Terms};
use crate::protocol::outcome::Outcome;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;

/// A state or an event that stands for its kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<T> {
    /// The difference from the other samples of the same name; empty for the plain one.
    pub note: &'static str,
    /// The state or the event.
    pub value: T,
}

fn sample<T>(note: &'static str, value: T) -> Sample<T> {
    Sample { note, value }
}

/// A name with its note in parentheses.
pub(super) fn label(name: &str, note: &str) -> String {
    if note.is_empty() {
        name.to_owned()
    } else {
        format!("{name} ({note})")
    }
}

fn terms() -> Terms {
    Terms {
        parallelism: 4,
        initialization_timeout: SignedDuration::from_mins(5),
        start_timeout: SignedDuration::from_mins(5),
        ..Terms::default()
    }
}

fn plan() -> Plan {
    Plan {
        parallelism: 4,
        max_vus: Some(200),
        total_duration: Some("1m30s".to_owned()),
        thresholds: Some(1),
        deadline_seconds: Some(510),
        ..Plan::default()
    }
}

/// One event of each kind, and one for each case in which its data decides the next state.
pub fn events() -> Vec<Sample<Event>> {
    [
        of_the_spec(),
        of_the_script(),
        of_the_start(),
        of_the_end(),
        from_outside(),
    ]
    .concat()
}

/// Events of the spec.
fn of_the_spec() -> Vec<Sample<Event>> {
    vec![
        sample(
            "",
            Event::Accepted {
                generation: 1,
                rerun: None,
                terms: terms(),
            },
        ),
        sample(
            "edited",
            Event::Accepted {
                generation: 2,
                rerun: None,
                terms: terms(),
            },
        ),
        sample(
            "unpaused",
            Event::Accepted {
                generation: 1,
                rerun: None,
                terms: Terms {
                    start: Start::Immediate,
                    ..terms()
                },
            },
        ),
        sample(
            "",
            Event::SpecRejected {
                rerun: None,
                message: "spec.parallelism is 0".to_owned(),
            },
        ),
    ]
}

/// Events of the script.
fn of_the_script() -> Vec<Sample<Event>> {
    vec![
        sample("", Event::ScriptInspected { plan: plan() }),
        sample(
            "aggregated",
            Event::ScriptInspected {
                plan: Plan {
                    aggregation: Some(Aggregation {
                        output: "opentelemetry".to_owned(),
                        k6_version: "1.4".to_owned(),
                        setup_seconds: Some(60),
                        teardown_seconds: Some(60),
                        system_tags: None,
                        without_own_tags: false,
                        script_metrics: Default::default(),
                    }),
                    ..plan()
                },
            },
        ),
        sample("", Event::InspectionSkipped { plan: plan() }),
        sample(
            "",
            Event::ScriptRejected {
                reason: Reason::ScriptError,
                message: "the script has a syntax error".to_owned(),
            },
        ),
    ]
}

/// Events of the start.
fn of_the_start() -> Vec<Sample<Event>> {
    let start_failed = |released, aborted| Event::StartFailed {
        released,
        aborted,
        message: "The runners were not released".to_owned(),
    };
    vec![
        sample(
            "",
            Event::StartOrdered {
                runners: 4,
                pods: "sha256:0".to_owned(),
            },
        ),
        sample(
            "",
            Event::StartConfirmed {
                runners: 4,
                spread_micros: 1500,
            },
        ),
        sample("", Event::RunnersStarted { runners: 4 }),
        sample("", start_failed(Some(2), false)),
        sample("none released", start_failed(Some(0), false)),
        sample("aborted in setup()", start_failed(Some(0), true)),
    ]
}

/// Events at the end of the test.
fn of_the_end() -> Vec<Sample<Event>> {
    vec![
        sample(
            "",
            Event::RunnerLost {
                failure: RunnerFailure {
                    runner: 3,
                    exit_code: Some(137),
                    reason: Some("OOMKilled".to_owned()),
                    message: "the container was killed".to_owned(),
                },
            },
        ),
        sample(
            "",
            Event::RunnersEnded {
                tally: Tally {
                    passed: 4,
                    ..Tally::default()
                },
            },
        ),
        sample(
            "",
            Event::ResultCollected {
                outcome: Outcome::default(),
                unkept: None,
            },
        ),
        sample(
            "",
            Event::CollectionFailed {
                message: "the aggregator did not answer".to_owned(),
            },
        ),
        sample(
            "",
            Event::AggregatorLost {
                message: "OOMKilled".to_owned(),
            },
        ),
    ]
}

/// Events by which the user, a deadline or the API server ends a run, and the order of the next run.
fn from_outside() -> Vec<Sample<Event>> {
    vec![
        sample("", Event::StopOrdered {}),
        sample("", Event::RunnersStopped { forced: 0 }),
        sample(
            "",
            Event::DeadlinePassed {
                waiting_for: "the cluster to answer".to_owned(),
            },
        ),
        sample(
            "",
            Event::ObjectRefused {
                reason: Reason::NameConflict,
                message: "Job k6-sample-1 is not this run's".to_owned(),
            },
        ),
        sample(
            "",
            Event::RerunOrdered {
                attempt: 2,
                former: Former {
                    result: RunResult::Passed,
                    reason: Reason::AllRunnersPassed,
                    end_time: Timestamp::UNIX_EPOCH,
                    duration: None,
                    message: "4 of 4 runners passed".to_owned(),
                },
            },
        ),
    ]
}

/// Records an event at a fixed time, so that the generated files are always the same.
pub(super) fn at_epoch(event: Event) -> Record {
    Record {
        time: Timestamp::UNIX_EPOCH,
        event,
    }
}

/// One state of each kind, reached by events, and one for each case in which its data decides the next step.
pub fn states() -> Vec<Sample<State>> {
    let kinds: BTreeMap<String, Event> = events()
        .into_iter()
        .map(|event| (label(event.value.name(), event.note), event.value))
        .collect();
    let after = |names: &[&str]| {
        names.iter().fold(State::default(), |state, name| {
            let next = kinds
                .get(*name)
                .map(|event| step(&state, &at_epoch(event.clone())));
            match next {
                Some(Step::Next(next)) => next,
                Some(Step::Unchanged | Step::Refused) | None => state,
            }
        })
    };
    let started = ["Accepted", "ScriptInspected", "StartOrdered", "StartConfirmed"];
    let mut aggregated = started;
    aggregated[1] = "ScriptInspected (aggregated)";
    let but = |last: &'static str| [started.as_slice(), &[last]].concat();
    let and = |last: &[&'static str]| [aggregated.as_slice(), last].concat();
    vec![
        sample("", State::default()),
        sample("accepted", after(&started[..1])),
        sample("", after(&started[..2])),
        sample("unpaused", after(&["Accepted (unpaused)", "ScriptInspected"])),
        sample("", after(&started[..3])),
        sample("", after(&started)),
        sample("aggregated", after(&aggregated[..2])),
        sample("aggregated", after(&aggregated)),
        sample("all ended", after(&and(&["RunnersEnded"]))),
        sample("one lost", after(&but("RunnerLost"))),
        sample("", after(&but("DeadlinePassed"))),
        sample("aggregated", after(&and(&["DeadlinePassed"]))),
        sample("all stopped", after(&and(&["DeadlinePassed", "RunnersStopped"]))),
        sample("", after(&but("RunnersEnded"))),
    ]
}
