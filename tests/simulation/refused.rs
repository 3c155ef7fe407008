//! Pods that Kubernetes refuses to create for the Jobs of a run.

use crate::faults::{ByHand, Denial, Fault, OnPod, OnWatch, Part, Plan, When};
use crate::scenario::Scenario;
use crate::sim::{Outcome, simulate};
use crate::store::Table;
use k6_operator::machine::StateName;

const RATIO: &str = "memory max limit to request ratio per Container is 5";
const FULL: &str = "exceeded quota: team";

fn denied(part: Part, denial: Denial, until: Option<u64>) -> Fault {
    Fault::Pod {
        test: 0,
        part,
        what: OnPod::Denied(denial, until),
    }
}

/// Runs this, which breaks no invariant, and ends so.
fn ends(scenario: &Scenario, plan: Plan, end: &str) -> Outcome {
    let outcome = simulate(7, scenario, &plan);
    assert_eq!(
        (&outcome.broken, &outcome.ends),
        (&Vec::new(), &vec![format!("a: run 1 Finished {end}")]),
        "{plan}\n{}",
        outcome.lines.join("\n")
    );
    outcome
}

/// The parts of a run, with what its user is told to set, and how it ends without a pod of this part.
fn parts() -> [(Part, &'static str, &'static str, &'static str); 4] {
    let unstarted = "Error ObjectRefused, 0 released";
    [
        (
            Part::Initializer,
            "the pod of the initializer",
            "spec.initializer.resources",
            unstarted,
        ),
        (
            Part::Aggregator,
            "the pod of the aggregator",
            "spec.aggregation.resources",
            unstarted,
        ),
        (
            Part::Runner(2),
            "the pod of runner 2",
            "spec.runner.resources",
            unstarted,
        ),
        (
            Part::Starter,
            "the pod of the starter",
            "spec.starter.resources",
            unstarted,
        ),
    ]
}

#[test]
fn a_pod_that_is_refused_for_good_is_told_at_once_and_ends_the_run_long_before_its_deadline() {
    for (part, pod, field, end) in parts() {
        let plan = Plan(vec![denied(part, Denial::Ratio, None)]);
        let outcome = ends(&Scenario::merged(2, 0), plan, end);
        let history = &outcome.histories[0];
        let told = history.lines().filter(|line| line.to_lowercase().contains(pod));
        let told: Vec<&str> = told
            .filter(|line| line.contains(RATIO) && line.contains(field))
            .collect();
        assert_eq!(told.len(), 1, "{history}");
        let words = format!("{pod} is refused");
        let live = outcome.messages.iter().find(|message| message.contains(&words));
        assert!(
            live.is_some_and(|message| message.starts_with("Waiting for ")),
            "{:#?}",
            outcome.messages
        );
        // The Job controller tries after 0, 1, 3, 7 and 15 s, and then the Job is gone.
        let tries = outcome.lines.iter().filter(|line| line.contains("is denied"));
        assert!(tries.count() <= 6, "{}", outcome.lines.join("\n"));
    }
}

#[test]
fn a_pod_that_a_full_quota_keeps_out_is_told_and_comes_when_there_is_room() {
    for (part, pod, ..) in parts() {
        let scenario = Scenario::merged(2, 0);
        let plan = Plan(vec![denied(part, Denial::Quota, Some(30_000))]);
        let outcome = ends(&scenario, plan, "Passed AllRunnersPassed, 2 released");
        let words = format!("{pod} is refused as long as a ResourceQuota is full");
        let told = outcome.messages.iter().any(|message| message.contains(&words));
        assert!(told, "{pod}: {:#?}", outcome.messages);
    }
}

#[test]
fn a_pod_that_a_full_quota_keeps_out_for_too_long_is_told_at_the_deadline() {
    let ends_of = [
        (
            Part::Initializer,
            "Error InitializationDeadlineExceeded, 0 released",
        ),
        (Part::Aggregator, "Error StartDeadlineExceeded, 0 released"),
        (Part::Runner(1), "Error StartDeadlineExceeded, 0 released"),
        (Part::Starter, "Error StartDeadlineExceeded, 0 released"),
    ];
    for (part, end) in ends_of {
        let plan = Plan(vec![denied(part, Denial::Quota, None)]);
        let outcome = ends(&Scenario::merged(2, 0), plan, end);
        let told = outcome.histories[0].lines().any(|line| line.contains(FULL));
        assert!(told, "{part:?}: {}", outcome.histories[0]);
        assert!(
            !outcome.histories[0].contains("longer than specified"),
            "{}",
            outcome.histories[0]
        );
    }
}

#[test]
fn runners_are_stopped_in_time_though_the_pod_of_the_stopper_is_refused() {
    let stop = Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Started, 1_000),
        what: ByHand::Stop,
    };
    for denial in [Denial::Ratio, Denial::Quota] {
        let plan = Plan(vec![stop, denied(Part::Stopper, denial, None)]);
        let outcome = ends(&Scenario::merged(2, 0), plan, "Aborted StopRequested, 2 released");
        let words = "the pod of the stopper is refused";
        let told = outcome.messages.iter().any(|message| message.contains(words));
        assert!(told, "{:#?}", outcome.messages);
    }
}

#[test]
fn a_pod_that_came_after_all_while_the_operator_did_not_look_is_not_refused() {
    // The Job controller tries for the last time in vain after 15 s, and well after 31 s.
    let mended = denied(Part::Aggregator, Denial::Ratio, Some(25_000));
    let frozen = Fault::Freeze {
        operator: 0,
        when: When::In(0, StateName::Created, 1_000),
        ms: 34_000,
    };
    let held = Fault::Watch {
        operator: 0,
        table: Table::Pods,
        when: When::In(0, StateName::Created, 500),
        what: OnWatch::Held(42_000),
    };
    let plan = Plan(vec![mended, frozen, held]);
    ends(
        &Scenario::merged(2, 0),
        plan,
        "Passed AllRunnersPassed, 2 released",
    );
}
