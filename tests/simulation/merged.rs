//! Runs whose metrics are merged.

use crate::faults::{ByHand, Fault, Injection, OnPod, OnRequest, OnWatch, Part, Plan, When};
use crate::scenario::{Ending, Scenario, Source, Test};
use crate::sim::{Outcome, simulate};
use crate::store::Table;
use crate::{same_end, same_end_as};
use k6_operator::machine::StateName;

fn by_hand(state: StateName, later: u64, what: ByHand) -> Fault {
    Fault::Hand {
        test: 0,
        when: When::In(0, state, later),
        what,
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

/// Whether an object of this kind and name was made, and how often.
fn made(outcome: &Outcome, what: &str) -> usize {
    let created = format!("Create {what}: 201");
    outcome
        .lines
        .iter()
        .filter(|line| line.ends_with(&created))
        .count()
}

fn gone(outcome: &Outcome, kind: &str, name: &str) -> bool {
    let ways = [
        format!("gone: {kind} {name}"),
        format!("Delete {kind} {name}: 200"),
    ];
    let mut lines = outcome.lines.iter();
    lines.any(|line| ways.iter().any(|way| line.ends_with(way)))
}

/// The summary is kept, and what merged is gone, its Service with it.
fn is_kept(outcome: &Outcome) {
    let trace = outcome.lines.join("\n");
    assert_eq!(made(outcome, "ConfigMaps a-summary"), 1, "{trace}");
    for (kind, name) in [("Jobs", "a-aggregator"), ("Services", "a-aggregator")] {
        assert!(gone(outcome, kind, name), "{kind} {name} is left: {trace}");
    }
}

/// The last event of the run.
fn last(outcome: &Outcome) -> &str {
    outcome.histories[0].lines().last().unwrap()
}

const FAILED: &str = "Error AggregationFailed, 2 released";
const STOPPED: &str = "Aborted StopRequested, 2 released";
const PASSED: &str = "Passed AllRunnersPassed, 2 released";

#[test]
fn a_run_in_which_nothing_goes_wrong_has_its_merged_result() {
    for runners in 1..=4 {
        for (crossed, result) in [(0, "Passed AllRunnersPassed"), (1, "Failed ThresholdsCrossed")] {
            let end = format!("{result}, {runners} released");
            let outcome = ends(&Scenario::merged(runners, crossed), Plan::default(), &end);
            is_kept(&outcome);
            let told = format!("\"crossed\":{crossed}");
            assert!(last(&outcome).contains(&told), "{}", outcome.histories[0]);
            assert!(!last(&outcome).contains("incomplete"), "{}", outcome.histories[0]);
        }
    }
}

/// Each of them is up to 4 MiB.
#[test]
fn runs_that_end_together_have_their_long_logs_read_one_at_a_time() {
    let mut scenario = Scenario::merged(1, 0);
    let test = scenario.tests[0].clone();
    let of_name = |name| Test { name, ..test.clone() };
    scenario.tests = ["a", "b", "c", "d", "e", "f"].map(of_name).into();
    scenario.addresses = 20;
    scenario.long_log_takes = 500;
    let outcome = simulate(7, &scenario, &Plan::default());
    let trace = outcome.lines.join("\n");
    assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
    assert!(
        outcome.ends.iter().all(|end| end.contains("Passed")),
        "{:?}",
        outcome.ends
    );
    assert!(outcome.long_logs >= 6, "{} long logs: {trace}", outcome.long_logs);
}

#[test]
fn of_an_archive_there_is_a_merged_result_too() {
    let mut scenario = Scenario::merged(2, 0);
    scenario.tests[0].source = Source::Archive;
    is_kept(&ends(&scenario, Plan::default(), PASSED));
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_merged_run_still_finishes_it_with_its_result() {
    let faults = [
        OnRequest::CrashBefore,
        OnRequest::CrashAfter,
        OnRequest::ReplyLost { silent: false },
        OnRequest::ReplyLost { silent: true },
        OnRequest::Answered(503),
        OnRequest::Answered(409),
    ];
    for (crossed, end) in [(0, PASSED), (1, "Failed ThresholdsCrossed, 2 released")] {
        let scenario = Scenario::merged(2, crossed);
        // Those after the end, too.
        let writes = simulate(7, &scenario, &Plan::default()).writes[0];
        assert!(writes > 15, "only {writes} writes");
        for nth in 1..=writes {
            let faults = if crossed == 0 { &faults[..] } else { &faults[1..2] };
            for what in faults.iter().copied() {
                let fault = Fault::Write {
                    operator: 0,
                    nth,
                    what,
                };
                let outcome = ends(&scenario, Plan(vec![fault]), end);
                let trace = outcome.lines.join("\n");
                assert!(trace.contains("gone: ConfigMaps a-summary"), "{fault:?}: {trace}");
                assert!(
                    outcome.histories[0].contains("ResultCollected"),
                    "{fault:?}: {trace}"
                );
            }
        }
    }
}

#[test]
fn a_read_that_fails_changes_no_end_of_a_merged_run() {
    let faults = [OnRequest::Answered(500), OnRequest::RequestLost { silent: true }];
    same_end(7, &Scenario::merged(2, 1), |clean| {
        let reads = (1..=clean.reads[0]).flat_map(|nth| faults.map(|what| (nth, what)));
        let fault = |(nth, what)| Fault::Read {
            operator: 0,
            nth,
            what,
        };
        reads.map(fault).collect()
    });
}

#[test]
fn a_view_that_lags_behind_changes_no_end_of_a_merged_run() {
    same_end(7, &Scenario::merged(2, 1), |_| {
        crate::held().map(|(_, fault)| fault).collect()
    });
}

#[test]
fn a_crash_in_any_state_changes_no_end_of_a_merged_run_and_loses_no_summary() {
    let scenario = Scenario::merged(2, 0);
    for state in StateName::ALL
        .into_iter()
        .filter(|state| *state != StateName::Stopping)
    {
        for later in [0, 2, 100, 1_000, 2_500, 20_000, 21_500, 23_000] {
            let crash = Fault::Crash {
                operator: 0,
                when: When::In(0, state, later),
            };
            is_kept(&ends(&scenario, Plan(vec![crash]), PASSED));
        }
    }
}

#[test]
fn an_aggregator_whose_pod_is_deleted_or_lost_during_the_test_is_replaced_and_has_the_result() {
    let injection = |what| Fault::Injection {
        test: 0,
        part: Part::Aggregator,
        when: When::In(0, StateName::Started, 1_000),
        what,
    };
    let deleted = by_hand(StateName::Started, 1_000, ByHand::DeletePod(Part::Aggregator));
    for (fault, pods) in [
        (deleted, 2),
        (injection(Injection::Evicted), 2),
        (injection(Injection::OutOfMemory), 1),
    ] {
        let outcome = ends(&Scenario::merged(2, 0), Plan(vec![fault]), PASSED);
        is_kept(&outcome);
        let made = |line: &&String| line.contains("made: Pods a-aggregator-");
        assert_eq!(outcome.lines.iter().filter(made).count(), pods, "{fault:?}");
        assert!(!last(&outcome).contains("incomplete"), "{}", outcome.histories[0]);
    }
}

#[test]
fn an_aggregator_whose_job_is_deleted_during_the_test_leaves_thresholds_unjudged() {
    let deleted = by_hand(StateName::Started, 1_000, ByHand::DeleteJob(Part::Aggregator));
    let mut scenario = Scenario::merged(2, 0);
    let outcome = ends(&scenario, Plan(vec![deleted]), FAILED);
    let why = "the aggregator ended: its Job was deleted";
    assert!(last(&outcome).contains(why), "{}", outcome.histories[0]);
    scenario.tests[0].thresholds = 0;
    ends(&scenario, Plan(vec![deleted]), PASSED);
}

#[test]
fn what_an_aggregator_has_not_heard_since_its_service_was_deleted_does_not_pass() {
    let deleted = |later| by_hand(StateName::Started, later, ByHand::DeleteJob(Part::Service));
    // The runners knew only of the first.
    let outcome = ends(&Scenario::merged(2, 0), Plan(vec![deleted(1_000)]), FAILED);
    assert!(
        last(&outcome).contains("nothing was heard of runner 1"),
        "{}",
        outcome.histories[0]
    );
    // One of them has ended by then.
    let mut scenario = Scenario::merged(2, 0);
    scenario.tests[0].endings[0] = (5_000, Ending::Code(0));
    let outcome = ends(&scenario, Plan(vec![deleted(10_000)]), FAILED);
    assert!(!last(&outcome).contains("runner 1"), "{}", outcome.histories[0]);
    assert!(
        last(&outcome).contains("nothing was heard of runner 2"),
        "{}",
        outcome.histories[0]
    );
    is_kept(&outcome);
}

#[test]
fn an_aggregator_that_is_never_ready_starts_nobody() {
    for what in [
        OnPod::Hangs(None),
        OnPod::ImagePull(None),
        OnPod::Unschedulable(None),
    ] {
        let fault = Fault::Pod {
            test: 0,
            part: Part::Aggregator,
            what,
        };
        let end = "Error StartDeadlineExceeded, 0 released";
        let outcome = ends(&Scenario::merged(2, 0), Plan(vec![fault]), end);
        let waits = "the aggregator to be ready";
        assert!(last(&outcome).contains(waits), "{}", outcome.histories[0]);
    }
}

#[test]
fn aggregator_that_hangs_at_the_end_ends_the_run_at_its_deadline_and_never_passes() {
    let hangs = Fault::Injection {
        test: 0,
        part: Part::Aggregator,
        when: When::In(0, StateName::Started, 1_000),
        what: Injection::NodeLost,
    };
    let outcome = simulate(7, &Scenario::merged(2, 0), &Plan(vec![hangs]));
    let trace = outcome.lines.join("\n");
    assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
    assert!(
        outcome.ends[0].contains("Error AggregationFailed"),
        "{:?}",
        outcome.ends
    );
}

#[test]
fn a_summary_is_kept_though_handle_summary_hangs() {
    let mut scenario = Scenario::merged(2, 0);
    scenario.tests[0].summary_hangs = true;
    is_kept(&ends(&scenario, Plan::default(), PASSED));
}

#[test]
fn run_that_operator_0_1_began_has_its_result_a_minute_after_its_runners_ended_and_no_documents() {
    for (crossed, result) in [(0, "Passed AllRunnersPassed"), (1, "Failed ThresholdsCrossed")] {
        let mut scenario = Scenario::merged(2, crossed);
        scenario.tests[0].waits_to_be_asked = true;
        let outcome = ends(&scenario, Plan::default(), &format!("{result}, 2 released"));
        let trace = outcome.lines.join("\n");
        assert_eq!(made(&outcome, "ConfigMaps a-summary"), 0, "{trace}");
        assert!(gone(&outcome, "Jobs", "a-aggregator"), "{trace}");
        let told = format!("\"crossed\":{crossed}");
        assert!(last(&outcome).contains(&told), "{}", outcome.histories[0]);
        let why = "it is not in the log of the pod";
        assert!(last(&outcome).contains(why), "{}", outcome.histories[0]);
        // The minute, and then as long as a summary is tried to be kept.
        let at = |event: &str| {
            let line = outcome.histories[0]
                .lines()
                .find(|line| line.contains(event))
                .unwrap();
            println!("{line}");
        };
        at("RunnersEnded");
        at("ResultCollected");
    }
}

#[test]
fn a_summary_is_kept_while_the_view_of_pods_lags_behind_and_is_not_asked_for_again_and_again() {
    for what in [OnWatch::Held(60_000), OnWatch::Silent] {
        let held = Fault::Watch {
            operator: 0,
            table: Table::Pods,
            when: When::In(0, StateName::Started, 1_000),
            what,
        };
        let outcome = ends(&Scenario::merged(2, 0), Plan(vec![held]), PASSED);
        is_kept(&outcome);
        let asked = outcome
            .lines
            .iter()
            .filter(|line| line.contains("Get ConfigMaps a-summary"));
        assert!(asked.count() < 20, "{}", outcome.lines.join("\n"));
    }
}

#[test]
fn a_summary_that_is_refused_is_given_up_and_the_end_stays() {
    let refused = |ms| Fault::Refused {
        table: Table::ConfigMaps,
        when: When::In(0, StateName::Started, 1_000),
        ms,
    };
    let outcome = ends(&Scenario::merged(2, 0), Plan(vec![refused(None)]), PASSED);
    assert_eq!(made(&outcome, "ConfigMaps a-summary"), 0);
    assert!(gone(&outcome, "Jobs", "a-aggregator"));
    let told = |line: &&String| line.contains("Create Events (SummaryNotKept of a): 201");
    assert_eq!(
        outcome.lines.iter().filter(told).count(),
        1,
        "{}",
        outcome.lines.join("\n")
    );
    is_kept(&ends(
        &Scenario::merged(2, 0),
        Plan(vec![refused(Some(40_000))]),
        PASSED,
    ));
}

#[test]
fn the_summary_of_a_run_is_kept_before_the_next_begins() {
    for (state, hangs) in [
        (StateName::Started, false),
        (StateName::Started, true),
        (StateName::Finished, true),
    ] {
        let mut scenario = Scenario::merged(2, 0);
        scenario.tests[0].summary_hangs = hangs;
        let outcome = simulate(7, &scenario, &Plan(vec![by_hand(state, 0, ByHand::Rerun)]));
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        assert!(
            outcome.ends[0].contains("run 2 Finished Passed"),
            "{}",
            outcome.ends[0]
        );
        for name in ["a-summary", "a-r2-summary"] {
            assert_eq!(made(&outcome, &format!("ConfigMaps {name}")), 1, "{trace}");
        }
    }
}

#[test]
fn a_merged_run_that_is_stopped_has_what_was_measured_until_then() {
    let stop = by_hand(StateName::Started, 1_000, ByHand::Stop);
    let outcome = ends(&Scenario::merged(2, 1), Plan(vec![stop]), STOPPED);
    is_kept(&outcome);
    assert!(
        last(&outcome).contains("\"crossed\":1"),
        "{}",
        outcome.histories[0]
    );
    // All runners have ended, and the result is read.
    for later in [20_300, 20_800, 21_200] {
        let stop = by_hand(StateName::Started, later, ByHand::Stop);
        is_kept(&ends(&Scenario::merged(2, 0), Plan(vec![stop]), PASSED));
    }
}

#[test]
fn a_merged_run_that_does_not_end_in_time_has_what_was_measured_until_then() {
    let mut scenario = Scenario::merged(2, 0);
    scenario.tests[0].endings[1].1 = Ending::Hangs;
    for stubborn in [false, true] {
        scenario.tests[0].stubborn = stubborn;
        let outcome = ends(
            &scenario,
            Plan::default(),
            "Error RunDeadlineExceeded, 2 released",
        );
        is_kept(&outcome);
        assert!(
            last(&outcome).contains("ResultCollected"),
            "{}",
            outcome.histories[0]
        );
    }
}

#[test]
fn a_merged_run_that_is_stopped_ends_in_time_though_its_result_cannot_be_had() {
    let stop = by_hand(StateName::Started, 1_000, ByHand::Stop);
    let deleted = |what| by_hand(StateName::Started, 999, ByHand::DeleteJob(what));
    let plan = Plan(vec![stop, deleted(Part::Aggregator)]);
    let outcome = ends(&Scenario::merged(2, 0), plan, STOPPED);
    assert!(
        last(&outcome).contains("CollectionFailed"),
        "{}",
        outcome.histories[0]
    );
    assert!(gone(&outcome, "Jobs", "a-aggregator"));
}

#[test]
fn an_operator_that_dies_at_any_write_of_a_merged_run_that_is_stopped_still_brings_its_result() {
    let stop = by_hand(StateName::Started, 1_000, ByHand::Stop);
    let scenario = Scenario::merged(2, 0);
    let writes = simulate(7, &scenario, &Plan(vec![stop])).writes[0];
    for nth in 1..=writes {
        for what in [OnRequest::CrashBefore, OnRequest::CrashAfter] {
            let fault = Fault::Write {
                operator: 0,
                nth,
                what,
            };
            let outcome = ends(&scenario, Plan(vec![stop, fault]), STOPPED);
            let trace = outcome.lines.join("\n");
            assert!(trace.contains("gone: ConfigMaps a-summary"), "{fault:?}: {trace}");
        }
    }
}

#[test]
fn names_of_what_merges_that_strangers_hold_are_conflicts_and_the_strangers_are_left_alone() {
    for (part, end) in [
        (Part::Aggregator, "Error NameConflict, 0 released"),
        (Part::Service, "Error NameConflict, 0 released"),
    ] {
        let squat = by_hand(StateName::Initializing, 0, ByHand::Squat(part, None));
        ends(&Scenario::merged(2, 0), Plan(vec![squat]), end);
    }
}

#[test]
fn a_runner_that_fails_is_told_beside_the_thresholds_that_were_crossed() {
    let mut scenario = Scenario::merged(2, 1);
    scenario.tests[0].endings[1] = (5_000, Ending::OutOfMemory);
    is_kept(&ends(
        &scenario,
        Plan::default(),
        "Failed ThresholdsCrossed, 2 released",
    ));
    scenario.tests[0].crossed = 0;
    is_kept(&ends(
        &scenario,
        Plan::default(),
        "Error RunnerFailed, 2 released",
    ));
}

#[test]
fn an_aggregator_whose_job_is_deleted_before_the_start_ends_the_run_once_runners_know_its_address() {
    let deleted = |later| by_hand(StateName::Created, later, ByHand::DeleteJob(Part::Aggregator));
    for paused in [true, false] {
        for later in [60, 200, 1_000, 2_000] {
            let mut scenario = Scenario::merged(2, 1);
            scenario.tests[0].paused = paused;
            let outcome = simulate(7, &scenario, &Plan(vec![deleted(later)]));
            let trace = outcome.lines.join("\n");
            assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
            let end = match paused {
                true => "Error AggregationFailed, 0 released",
                false => "Error AggregationFailed",
            };
            assert!(
                outcome.ends[0].contains(end),
                "{paused} {later} {:?}\n{trace}",
                outcome.ends
            );
        }
    }
    // Nobody knows of it yet.
    let outcome = ends(
        &Scenario::merged(2, 1),
        Plan(vec![deleted(10)]),
        "Failed ThresholdsCrossed, 2 released",
    );
    assert_eq!(made(&outcome, "Jobs a-aggregator"), 2);
    assert!(!last(&outcome).contains("incomplete"), "{}", outcome.histories[0]);
}

#[test]
fn a_lagging_view_and_a_crash_change_no_end_of_a_merged_run() {
    let mut scenario = Scenario::merged(2, 1);
    scenario.operators = crate::scenario::Operators::Two;
    let clean = simulate(3, &scenario, &Plan::default());
    let plans = crate::held().flat_map(|(state, fault)| {
        let later = [state, StateName::Finished].into_iter();
        later.map(move |later| {
            let crash = Fault::Crash {
                operator: 1,
                when: When::In(0, later, 1),
            };
            Plan(vec![fault, crash])
        })
    });
    same_end_as(&clean, 3, &scenario, plans);
}

/// Nothing tells the operator of it: no watch has shown the Job.
#[test]
fn job_that_is_deleted_before_a_watch_shows_it_is_created_again() {
    let merged = (Scenario::merged(2, 0), Part::Aggregator, "a-aggregator");
    let plain = (Scenario::plain(2), Part::Runner(1), "a-1");
    for (scenario, part, name) in [merged, plain] {
        let unshown = Fault::Watch {
            operator: 0,
            table: Table::Jobs,
            when: When::In(0, StateName::Created, 0),
            what: OnWatch::Coalesced(3_000),
        };
        let deleted = by_hand(StateName::Created, 1_000, ByHand::DeleteJob(part));
        let outcome = ends(&scenario, Plan(vec![unshown, deleted]), PASSED);
        let jobs = made(&outcome, &format!("Jobs {name}"));
        assert_eq!(jobs, 2, "{name}: {}", outcome.lines.join("\n"));
    }
}

#[test]
fn tokens_that_are_refused_are_told_with_the_remedy_and_the_run_goes_on_once_they_are_not() {
    let refused = |ms| Fault::Refused {
        table: Table::Secrets,
        when: When::In(0, StateName::Initializing, 0),
        ms,
    };
    let end = "Error StartDeadlineExceeded, 0 released";
    let outcome = ends(&Scenario::merged(2, 0), Plan(vec![refused(None)]), end);
    let words = [
        "Secret a-tokens-",
        "was refused",
        "let the operator create Secrets",
    ];
    for told in [
        last(&outcome),
        outcome
            .messages
            .iter()
            .find(|told| told.contains(words[0]))
            .unwrap(),
    ] {
        for word in words {
            assert!(told.contains(word), "{told}");
        }
    }
    assert_eq!(made(&outcome, "Jobs a-aggregator"), 0);
    is_kept(&ends(
        &Scenario::merged(2, 0),
        Plan(vec![refused(Some(30_000))]),
        PASSED,
    ));
}

/// As after an upgrade from an operator that had no tokens: what is created then waits for them until a deadline.
#[test]
fn run_without_tokens_ends_with_the_reason_and_never_hangs() {
    let lost = |state, later| by_hand(state, later, ByHand::DeleteTokens);
    for (state, later) in [(StateName::Created, 20), (StateName::Starting, 0)] {
        let end = "Error StartDeadlineExceeded, 0 released";
        let outcome = ends(&Scenario::merged(2, 0), Plan(vec![lost(state, later)]), end);
        let told = &outcome.histories[0];
        assert!(
            told.contains("FailedMount: ") && told.contains("a-tokens-"),
            "{told}"
        );
    }
    // Runners that run have theirs.
    is_kept(&ends(
        &Scenario::merged(2, 0),
        Plan(vec![lost(StateName::Started, 0)]),
        PASSED,
    ));
    let stopped = by_hand(StateName::Started, 2_000, ByHand::Stop);
    let plan = Plan(vec![lost(StateName::Started, 0), stopped]);
    ends(&Scenario::merged(2, 0), plan, "Aborted StopRequested, 2 released");
}
