//! Runs of so many runners that the sequence of their segments stands in a ConfigMap, once for all.

use crate::faults::{Fault, OnRequest, Plan, When};
use crate::scenario::Scenario;
use crate::sim::{Outcome, simulate};
use crate::store::Table;
use k6_operator::machine::StateName;

const RUNNERS: u32 = 101;

fn ends(scenario: &Scenario, plan: &Plan, end: &str) -> Outcome {
    let outcome = simulate(3, scenario, plan);
    assert_eq!(
        (&outcome.broken, &outcome.ends),
        (&Vec::new(), &vec![format!("a: run 1 Finished {end}")]),
        "{plan}\n{}",
        outcome.lines.join("\n")
    );
    outcome
}

/// The line of the trace in which an object was created first, and how often it was.
fn created(outcome: &Outcome, what: &str) -> (Option<usize>, usize) {
    let line = format!("Create {what}: 201");
    let mut lines = (0..)
        .zip(&outcome.lines)
        .filter(|(_, text)| text.ends_with(&line));
    let first = lines.next().map(|(index, _)| index);
    (first, usize::from(first.is_some()) + lines.count())
}

/// A runner's pod refers to it, and a runner that is created is not looked at again.
fn segments_are_first(outcome: &Outcome) {
    let (segments, times) = created(outcome, "ConfigMaps a-segments-101");
    let runners = (1..=RUNNERS).filter_map(|i| created(outcome, &format!("Jobs a-{i}")).0);
    let first = runners.min();
    assert_eq!(times, 1);
    assert!(segments.is_some() && segments < first, "{segments:?} {first:?}");
}

#[test]
fn segments_of_all_runners_are_created_once_and_before_the_first_runner() {
    let passed = format!("Passed AllRunnersPassed, {RUNNERS} released");
    for scenario in [Scenario::plain(RUNNERS), Scenario::merged(RUNNERS, 0)] {
        segments_are_first(&ends(&scenario, &Plan::default(), &passed));
    }
    let few = ends(
        &Scenario::plain(100),
        &Plan::default(),
        "Passed AllRunnersPassed, 100 released",
    );
    assert_eq!(created(&few, "ConfigMaps a-segments-100").1, 0);
}

#[test]
fn no_runner_is_created_while_the_segments_are_refused() {
    let refused = |ms| Fault::Refused {
        table: Table::ConfigMaps,
        when: When::In(0, StateName::Initializing, 0),
        ms,
    };
    let scenario = Scenario::plain(RUNNERS);
    let passed = format!("Passed AllRunnersPassed, {RUNNERS} released");
    segments_are_first(&ends(&scenario, &Plan(vec![refused(Some(20_000))]), &passed));
    let late = "Error StartDeadlineExceeded, 0 released";
    let outcome = ends(&scenario, &Plan(vec![refused(None)]), late);
    let runners = (1..=RUNNERS).filter(|i| created(&outcome, &format!("Jobs a-{i}")).1 > 0);
    assert_eq!(runners.count(), 0);
}

#[test]
fn an_operator_that_dies_at_the_segments_creates_them_and_all_runners_once() {
    let scenario = Scenario::plain(RUNNERS);
    let passed = format!("Passed AllRunnersPassed, {RUNNERS} released");
    for what in [
        OnRequest::CrashBefore,
        OnRequest::CrashAfter,
        OnRequest::ReplyLost { silent: false },
    ] {
        // Its writes before are two of the status, an Event and the initializer; after it come the runners.
        for nth in 4..=6 {
            let fault = Fault::Write {
                operator: 0,
                nth,
                what,
            };
            segments_are_first(&ends(&scenario, &Plan(vec![fault]), &passed));
        }
    }
}
