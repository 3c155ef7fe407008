//! How a run comes to its end: with the containers that count, and soon.

use crate::faults::{ByHand, Fault, Injection, OnPod, Part, Plan, When};
use crate::scenario::{Ending, Scenario};
use crate::sim::{Outcome, simulate};
use crate::store::Table;
use k6_operator::machine::StateName;

/// The second at which a line of the trace was written first that has this.
fn first(outcome: &Outcome, what: &str) -> Option<f64> {
    moments(outcome, |line| line.contains(what)).next()
}

fn moments<'a>(outcome: &'a Outcome, is: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = f64> + 'a {
    outcome
        .lines
        .iter()
        .filter(move |line| is(line))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
}

/// Seconds from the moment in which the API server shows the last runner's container as ended to the status Finished.
fn until_finished(outcome: &Outcome) -> f64 {
    let ended = |line: &str| line.contains(" a-") && line.ends_with("is told to have ended");
    let runner = |line: &str| {
        let name = line.split_whitespace().nth(1).unwrap_or_default();
        name.split('-')
            .nth(1)
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    let last = moments(outcome, move |line| ended(line) && runner(line))
        .last()
        .unwrap();
    first(outcome, "200 Finished").unwrap() - last
}

fn sidecar(runner: u32) -> Fault {
    Fault::Pod {
        test: 0,
        part: Part::Runner(runner),
        what: OnPod::Sidecar,
    }
}

#[test]
fn sidecar_that_goes_on_keeps_no_run_from_its_end_and_goes_a_minute_later() {
    for (code, end) in [
        (0, "Finished Passed AllRunnersPassed"),
        (99, "Finished Failed ThresholdsCrossed"),
        (107, "Finished Error RunnerFailed"),
    ] {
        let mut scenario = Scenario::plain(2);
        scenario.tests[0].endings[0].1 = Ending::Code(code);
        let outcome = simulate(3, &scenario, &Plan(vec![sidecar(1)]));
        let trace = outcome.lines.join("\n");
        let end = format!("a: run 1 {end}, 2 released");
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &vec![end]),
            "{trace}"
        );
        assert!(until_finished(&outcome) < 0.5, "{trace}");
        let finished = first(&outcome, "200 Finished").unwrap();
        let deleted = |name: &str| first(&outcome, &format!("Delete Jobs {name}: 200"));
        let after = deleted("a-1").unwrap() - finished;
        assert!((60.0..61.0).contains(&after), "{after}\n{trace}");
        // The other's Job stays, and tells how it ended.
        assert_eq!(deleted("a-2"), None, "{trace}");
    }
}

#[test]
fn sidecars_of_all_runners_keep_no_stop_and_no_rerun_from_its_end() {
    for (what, end) in [
        (
            ByHand::Stop,
            "a: run 1 Finished Aborted StopRequested, 2 released",
        ),
        (
            ByHand::Rerun,
            "a: run 2 Finished Passed AllRunnersPassed, 4 released",
        ),
    ] {
        let mut scenario = Scenario::plain(2);
        let by_hand = Fault::Hand {
            test: 0,
            when: When::In(0, StateName::Started, 2_000),
            what,
        };
        scenario.tests[0].endings[0].0 = 20_000;
        let outcome = simulate(3, &scenario, &Plan(vec![sidecar(1), sidecar(2), by_hand]));
        let trace = outcome.lines.join("\n");
        let found = (&outcome.broken, &outcome.ends);
        assert_eq!(found, (&Vec::new(), &vec![end.to_owned()]), "{trace}");
    }
}

#[test]
fn evicted_runner_is_told_with_the_reason_that_comes_after_its_container_has_ended() {
    for seed in 0..5 {
        let evicted = Fault::Injection {
            test: 0,
            part: Part::Runner(1),
            when: When::In(0, StateName::Started, 1_000),
            what: Injection::Evicted,
        };
        let outcome = simulate(seed, &Scenario::plain(2), &Plan(vec![evicted]));
        let trace = outcome.lines.join("\n");
        let end = "a: run 1 Finished Error RunnerFailed, 2 released".to_owned();
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &vec![end]),
            "{trace}"
        );
        assert!(
            outcome.messages.iter().any(|message| message.contains("Evicted")),
            "{trace}"
        );
    }
}

#[test]
fn run_whose_status_cannot_be_written_is_told_in_an_event_and_can_be_stopped() {
    let finished = Plan(vec![Fault::Refused {
        table: Table::K6s,
        when: When::In(0, StateName::Started, 0),
        ms: Some(600_000),
    }]);
    let stopped = |outcome: &Outcome| {
        let runners = moments(outcome, |line| {
            line.contains("Delete Jobs a-1: 200") || line.contains("Delete Jobs a-2: 200")
        });
        runners.last()
    };
    let mut scenario = Scenario::plain(2);
    // It ends by itself, and its end is told when it can be.
    let outcome = simulate(3, &scenario, &finished);
    let trace = outcome.lines.join("\n");
    let end = "a: run 1 Finished Passed AllRunnersPassed, 2 released".to_owned();
    assert_eq!(
        (&outcome.broken, &outcome.ends),
        (&Vec::new(), &vec![end]),
        "{trace}"
    );
    assert_eq!(stopped(&outcome), None, "{trace}");
    let told = moments(&outcome, |line| line.contains("(StatusNotWritten of a): 201"));
    assert_eq!(told.count(), 1, "{trace}");
    let tried = moments(&outcome, |line| line.contains("request is too large"));
    let tried = tried.count();
    assert!((5..40).contains(&tried), "{tried} writes in ten minutes\n{trace}");
    // One that does not end by itself is ended as it is asked to, though that can't be written.
    for (_, ending) in &mut scenario.tests[0].endings {
        *ending = Ending::Hangs;
    }
    let stop = Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Started, 3_000),
        what: ByHand::Stop,
    };
    let outcome = simulate(3, &scenario, &Plan([finished.0, vec![stop]].concat()));
    let trace = outcome.lines.join("\n");
    let end = "a: run 1 Finished Aborted StopRequested, 2 released".to_owned();
    assert_eq!(
        (&outcome.broken, &outcome.ends),
        (&Vec::new(), &vec![end]),
        "{trace}"
    );
    let began = first(&outcome, "200 Started").unwrap();
    let after = stopped(&outcome).unwrap() - began;
    assert!(after < 60.0, "{after} s\n{trace}");
}

#[test]
fn run_that_is_not_merged_is_finished_half_a_second_after_its_last_container() {
    for runners in [1, 4, 20] {
        let took = (0..5).map(|seed| {
            let outcome = simulate(seed, &Scenario::plain(runners), &Plan::default());
            assert_eq!(
                outcome.broken,
                Vec::<String>::new(),
                "{}",
                outcome.lines.join("\n")
            );
            until_finished(&outcome)
        });
        let took: Vec<f64> = took.collect();
        println!("{runners} runners: {took:.3?} s");
        assert!(
            took.iter().all(|took| *took < 0.5),
            "{runners} runners: {took:?} s"
        );
    }
}
