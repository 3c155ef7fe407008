//! The invariants themselves: for each there is something that breaks it, and it alone.

use crate::invariants::{Fact, Fencing, Invariant, Monitor, RunnerId, Told, is_partition};
use k6_operator::machine::{Reason, RunResult, StateName};

const N: u32 = 2;

fn id(runner: u32) -> RunnerId {
    RunnerId { attempt: 1, runner }
}

fn told(state: StateName) -> Told {
    let ordered = matches!(
        state,
        StateName::Starting | StateName::Started | StateName::Finished
    );
    Told {
        generation: Some(1),
        rerun: None,
        attempt: 1,
        state,
        verdict: None,
        parallelism: Some(N),
        ordered,
        confirmed: ordered && state != StateName::Starting,
        unpaused: false,
        judged: false,
        failures: 0,
    }
}

fn written(version: u64, told: Told) -> Fact {
    Fact::StatusWritten {
        by: 0,
        read: version - 1,
        got: version,
        generation: 1,
        rerun: None,
        told,
    }
}

fn finished(version: u64, result: RunResult, reason: Reason) -> Fact {
    let told = Told {
        verdict: Some((result, Some(reason))),
        ..told(StateName::Finished)
    };
    written(version, told)
}

fn passed(version: u64) -> Fact {
    finished(version, RunResult::Passed, Reason::AllRunnersPassed)
}

fn made(runner: u32, segment: &str) -> Fact {
    Fact::RunnerMade {
        id: id(runner),
        segment: segment.to_owned(),
    }
}

fn process(runner: u32) -> String {
    format!("process {runner}")
}

fn ready(runner: u32) -> Fact {
    Fact::Ready {
        id: id(runner),
        process: process(runner),
    }
}

fn released(runner: u32, process: &str) -> Fact {
    Fact::Released {
        id: id(runner),
        process: process.to_owned(),
    }
}

fn exited(runner: u32, code: Option<i32>) -> Fact {
    Fact::Exited {
        id: id(runner),
        process: process(runner),
        code,
    }
}

/// Up to the order to start.
fn ordered() -> Vec<Fact> {
    vec![
        written(1, told(StateName::Initializing)),
        written(2, told(StateName::Created)),
        made(1, "0:1/2"),
        made(2, "1/2:1"),
        ready(1),
        ready(2),
        written(3, told(StateName::Starting)),
    ]
}

/// Up to the confirmation that both were released.
fn started() -> Vec<Fact> {
    let mut facts = ordered();
    facts.extend([
        released(1, &process(1)),
        released(2, &process(2)),
        written(4, told(StateName::Started)),
    ]);
    facts
}

fn with(mut facts: Vec<Fact>, more: impl IntoIterator<Item = Fact>) -> Vec<Fact> {
    facts.extend(more);
    facts
}

/// The invariant that the last of these facts breaks; none before it may break any.
fn broken_by(fencing: Fencing, facts: &[Fact]) -> Option<Invariant> {
    let mut monitor = Monitor::new(fencing);
    let (last, before) = facts.split_last().unwrap();
    for fact in before {
        monitor
            .see(fact)
            .unwrap_or_else(|broken| panic!("{fact:?}: {broken}"));
    }
    monitor.see(last).err().map(|broken| broken.invariant)
}

/// Both runners exit 0, this is told of the thresholds over both, and the run ends so.
fn judged(crossed: Option<u32>, result: RunResult, reason: Reason) -> Vec<Fact> {
    let Fact::StatusWritten { told, .. } = finished(5, result, reason) else {
        panic!("no status");
    };
    let end = written(5, Told { judged: true, ..told });
    let ended = with(started(), [exited(1, Some(0)), exited(2, Some(0))]);
    with(ended, [Fact::Judged { attempt: 1, crossed }, end])
}

#[test]
fn what_is_told_of_the_thresholds_over_all_runners_decides() {
    for (crossed, result, reason) in [
        (Some(0), RunResult::Passed, Reason::AllRunnersPassed),
        (Some(1), RunResult::Failed, Reason::ThresholdsCrossed),
        (None, RunResult::Error, Reason::AggregationFailed),
    ] {
        let facts = judged(crossed, result, reason);
        assert_eq!(broken_by(Fencing::OneActs, &facts), None, "{facts:?}");
    }
}

#[test]
fn each_invariant_is_broken_by_something_and_named() {
    let before_the_order = Told {
        verdict: Some((RunResult::Error, Some(Reason::StartDeadlineExceeded))),
        ordered: false,
        confirmed: false,
        ..told(StateName::Finished)
    };
    let stopped = Told {
        verdict: Some((RunResult::Aborted, Some(Reason::StopRequested))),
        confirmed: false,
        ..told(StateName::Finished)
    };
    let well = |facts| with(facts, [exited(1, Some(0)), exited(2, Some(0))]);
    let breaks = [
        (Invariant::I1, with(started(), [released(1, "another process")])),
        (
            Invariant::I1,
            with(ordered(), [written(4, stopped), released(1, &process(1))]),
        ),
        (
            Invariant::I2,
            vec![
                written(1, told(StateName::Initializing)),
                written(2, told(StateName::Created)),
                written(3, told(StateName::Starting)),
                ready(1),
                released(1, &process(1)),
            ],
        ),
        (
            Invariant::I2,
            vec![
                written(1, told(StateName::Initializing)),
                written(2, told(StateName::Created)),
                released(1, &process(1)),
            ],
        ),
        (
            Invariant::I3,
            with(
                ordered(),
                [released(1, &process(1)), written(4, before_the_order)],
            ),
        ),
        (
            Invariant::I4,
            vec![
                written(1, told(StateName::Initializing)),
                written(2, told(StateName::Created)),
                made(1, "0:1/2"),
                made(2, "0:1/2"),
            ],
        ),
        (
            Invariant::I4,
            vec![
                written(1, told(StateName::Initializing)),
                written(2, told(StateName::Created)),
                made(1, "0:1/2"),
                made(1, "0:1/2"),
            ],
        ),
        (
            Invariant::I4,
            vec![
                written(1, told(StateName::Initializing)),
                written(2, told(StateName::Created)),
                made(3, "1:1"),
            ],
        ),
        (Invariant::I6, {
            let failed = finished(6, RunResult::Failed, Reason::ThresholdsCrossed);
            with(well(started()), [passed(5), failed])
        }),
        (
            Invariant::I7,
            with(started(), [exited(1, Some(0)), exited(2, Some(99)), passed(5)]),
        ),
        (Invariant::I7, {
            let failed = finished(5, RunResult::Failed, Reason::ThresholdsCrossed);
            with(well(started()), [failed])
        }),
        (
            Invariant::I7,
            judged(Some(1), RunResult::Passed, Reason::AllRunnersPassed),
        ),
        (
            Invariant::I7,
            judged(None, RunResult::Passed, Reason::AllRunnersPassed),
        ),
        (
            Invariant::I7,
            judged(Some(0), RunResult::Failed, Reason::ThresholdsCrossed),
        ),
        (
            Invariant::I8,
            vec![Fact::Ends {
                without: "Passed".to_owned(),
                with: "Error".to_owned(),
            }],
        ),
        (Invariant::I9, with(ordered(), [Fact::Acted { by: 0, read: 2 }])),
        (
            Invariant::I11,
            vec![Fact::ForeignTouched {
                by: 0,
                object: "job/test-1".to_owned(),
            }],
        ),
        (
            Invariant::I12,
            vec![Fact::Left {
                objects: vec!["job/test-1".to_owned()],
            }],
        ),
        (Invariant::I13, vec![Fact::SpecWritten { by: 0 }]),
        (Invariant::I14, vec![Fact::Idle { writes: 1 }]),
        (Invariant::I15, vec![Fact::BesideHung { in_time: false }]),
        (
            Invariant::I16,
            with(started(), [Fact::RunnerGone { id: id(1) }, made(1, "0:1/2")]),
        ),
        (Invariant::I16, {
            let failed = finished(5, RunResult::Error, Reason::RunnerFailed);
            with(started(), [exited(1, None), exited(2, Some(0)), failed])
        }),
        (Invariant::I17, ended_at(2, Some("again"), 2)),
        (
            Invariant::I18,
            with(ordered(), [exited(1, Some(0)), exited(2, Some(0)), passed(5)]),
        ),
    ];
    for (invariant, facts) in &breaks {
        assert_eq!(broken_by(Fencing::OneActs, facts), Some(*invariant), "{facts:#?}");
    }
    // I5 is a part of I7, which is told first; and two leaders start twice by releasing twice, which is I1.
    let named: Vec<Invariant> = breaks.iter().map(|(invariant, _)| *invariant).collect();
    for invariant in Invariant::ALL {
        let implied = matches!(invariant, Invariant::I5 | Invariant::I10);
        assert_eq!(named.contains(&invariant), !implied, "{invariant:?}");
    }
}

/// Both runners exit 0, and this generation of the spec asks for another run: the end is told of a generation.
fn ended_at(generation: i64, rerun: Option<&str>, of: i64) -> Vec<Fact> {
    let told = Told {
        generation: Some(of),
        verdict: Some((RunResult::Passed, Some(Reason::AllRunnersPassed))),
        ..told(StateName::Finished)
    };
    let end = Fact::StatusWritten {
        by: 0,
        read: 4,
        got: 5,
        generation,
        rerun: rerun.map(str::to_owned),
        told,
    };
    with(started(), [exited(1, Some(0)), exited(2, Some(0)), end])
}

#[test]
fn end_of_a_run_is_told_of_the_generation_before_the_one_that_asks_for_another() {
    assert_eq!(broken_by(Fencing::OneActs, &ended_at(2, Some("again"), 1)), None);
    assert_eq!(broken_by(Fencing::OneActs, &ended_at(2, None, 2)), None);
}

#[test]
fn a_run_that_passes_breaks_none() {
    let facts = with(
        started(),
        [
            Fact::Acted { by: 0, read: 4 },
            exited(1, Some(0)),
            exited(2, Some(0)),
            passed(5),
            Fact::Idle { writes: 0 },
            Fact::Left { objects: Vec::new() },
            Fact::BesideHung { in_time: true },
            Fact::SpecEdited,
        ],
    );
    assert_eq!(broken_by(Fencing::OneActs, &facts), None);
}

#[test]
fn the_same_process_may_be_released_again() {
    let facts = with(started(), [released(1, &process(1))]);
    assert_eq!(broken_by(Fencing::OneActs, &facts), None);
}

#[test]
fn a_verdict_on_a_runner_whose_job_was_deleted_needs_not_be_what_it_was() {
    let failed = finished(5, RunResult::Error, Reason::RunnerFailed);
    let ends = [
        exited(1, Some(0)),
        exited(2, Some(0)),
        Fact::RunnerGone { id: id(1) },
    ];
    let facts = with(started(), ends.into_iter().chain([failed]));
    assert_eq!(broken_by(Fencing::OneActs, &facts), None);
}

#[test]
fn a_runner_that_nobody_holds_begins_again_only_if_its_job_was_deleted() {
    let unpaused = Told {
        unpaused: true,
        ..told(StateName::Created)
    };
    let first = written(1, told(StateName::Initializing));
    let begun = vec![
        first,
        written(2, unpaused),
        made(1, "0:1/2"),
        released(1, &process(1)),
    ];
    let again = released(1, "another process");
    let twice = with(begun.clone(), [again.clone()]);
    assert_eq!(broken_by(Fencing::OneActs, &twice), Some(Invariant::I1));
    let remade = with(begun, [Fact::RunnerGone { id: id(1) }, made(1, "0:1/2"), again]);
    assert_eq!(broken_by(Fencing::OneActs, &remade), None);
}

#[test]
fn an_operator_that_was_frozen_may_make_a_runner_again() {
    let facts = with(started(), [Fact::RunnerGone { id: id(1) }, made(1, "0:1/2")]);
    assert_eq!(broken_by(Fencing::ManyAct, &facts), None);
}

#[test]
fn segments_that_overlap_or_leave_a_gap_are_no_partition() {
    assert!(is_partition(&["0:1"]));
    assert!(is_partition(&["2/3:1", "0:1/3", "1/3:2/3"]));
    for wrong in [
        &[][..],
        &["0:1/2"],
        &["0:1/2", "1/3:1"],
        &["0:1/3", "1/2:1"],
        &["0:1/2", "1/2:1/2", "1/2:1"],
        &["0:1/0", "1/2:1"],
        &["0-1"],
    ] {
        assert!(!is_partition(wrong), "{wrong:?}");
    }
}
