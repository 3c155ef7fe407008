//! One fault at a time, in every state of a run.

use crate::faults::{ByHand, Fault, Injection, OnPod, OnRequest, OnWatch, Part, Plan, When};
use crate::scenario::{Ending, Scenario, Source};
use crate::sim::{Outcome, simulate};
use crate::store::Table;
use k6_operator::machine::StateName;
use serde_json::json;

fn faults(when: When) -> Vec<Fault> {
    let clock = |ms| Fault::Clock {
        operator: 0,
        when,
        ms,
    };
    let held = |table| Fault::Watch {
        operator: 0,
        table,
        when,
        what: OnWatch::Held(8_000),
    };
    vec![
        clock(600_000),
        clock(-60_000),
        held(Table::Jobs),
        held(Table::Pods),
        held(Table::K6s),
        Fault::Freeze {
            operator: 0,
            when,
            ms: 5_000,
        },
        Fault::Injection {
            test: 0,
            part: Part::Runner(1),
            when,
            what: Injection::NodeLost,
        },
    ]
}

#[test]
fn no_fault_in_any_state_breaks_an_invariant() {
    for state in StateName::ALL {
        for fault in faults(When::In(0, state, 0)) {
            let mut plan = vec![fault];
            if state == StateName::Stopping {
                plan.push(Fault::Hand {
                    test: 0,
                    when: When::In(0, StateName::Started, 0),
                    what: ByHand::Stop,
                });
            }
            let plan = Plan(plan);
            let outcome = simulate(7, &Scenario::plain(2), &plan);
            assert_eq!(
                outcome.broken,
                Vec::<String>::new(),
                "{plan}\n{}",
                outcome.lines.join("\n")
            );
        }
    }
}

#[test]
fn test_of_an_instant_is_told_in_each_of_its_states() {
    for (inspects, paused) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut scenario = Scenario::plain(2);
        let test = &mut scenario.tests[0];
        test.endings = vec![(1, Ending::Code(0)); 2];
        (test.inspects, test.paused) = (inspects, paused);
        let outcome = simulate(7, &scenario, &Plan::default());
        let end = "a: run 1 Finished Passed AllRunnersPassed, 2 released".to_owned();
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &vec![end]),
            "{inspects} {paused}\n{}",
            outcome.lines.join("\n")
        );
    }
}

#[test]
fn a_name_that_a_stranger_holds_is_a_conflict_and_the_stranger_is_left_alone() {
    let parts = [
        (Part::Initializer, Source::ConfigMap),
        (Part::Runner(1), Source::ConfigMap),
        (Part::Runner(2), Source::ConfigMap),
        (Part::Starter, Source::ConfigMap),
        (Part::Script, Source::Inline),
    ];
    for (part, source) in parts {
        let mut scenario = Scenario::plain(2);
        scenario.tests[0].source = source;
        let plan = Plan(vec![Fault::Hand {
            test: 0,
            when: When::In(0, StateName::Initializing, 0),
            what: ByHand::Squat(part, None),
        }]);
        let outcome = simulate(7, &scenario, &plan);
        let end = "a: run 1 Finished Error NameConflict, 0 released".to_owned();
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &vec![end]),
            "{plan}\n{}",
            outcome.lines.join("\n")
        );
    }
}

#[test]
fn a_stranger_that_has_the_name_of_a_job_that_is_to_be_deleted_is_left_alone() {
    let by_hand = |later, what| Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Created, later),
        what,
    };
    let plan = Plan(vec![
        Fault::Watch {
            operator: 0,
            table: Table::Jobs,
            when: When::In(0, StateName::Created, 0),
            what: OnWatch::Held(5_000),
        },
        by_hand(0, ByHand::DeleteJob(Part::Initializer)),
        by_hand(0, ByHand::Squat(Part::Initializer, None)),
    ]);
    for seed in 0..10 {
        let outcome = simulate(seed, &Scenario::plain(2), &plan);
        let end = "a: run 1 Finished Passed AllRunnersPassed, 2 released".to_owned();
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &vec![end]),
            "{}",
            outcome.lines.join("\n")
        );
    }
}

#[test]
fn what_another_operator_has_run_is_not_run_again() {
    for stage in ["initialized", "started", "finished", "error"] {
        let mut scenario = Scenario::plain(2);
        scenario.tests[0].left = Some(json!({"stage": stage}));
        let outcome = simulate(7, &scenario, &Plan::default());
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        assert!(!trace.contains("Create Jobs"), "{trace}");
        assert!(!trace.contains("ReplaceStatus"), "{trace}");
        let told = outcome.lines.iter().filter(|line| line.contains("Create Events"));
        assert_eq!(told.count(), 1, "{trace}");
    }
}

#[test]
fn a_history_that_is_no_runs_is_told_in_an_event_and_nothing_is_made() {
    let mut scenario = Scenario::plain(2);
    let confirmed =
        json!({"time": "2026-05-28T20:26:42Z", "event": "StartConfirmed", "runners": 2, "spreadMicros": 1});
    scenario.tests[0].left = Some(json!({"state": "Started", "history": [confirmed]}));
    let outcome = simulate(7, &scenario, &Plan::default());
    let trace = outcome.lines.join("\n");
    let wrote = |what: &str| outcome.lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!(wrote("Create Events (Unreadable of a)"), 1, "{trace}");
    assert_eq!(wrote("Create Jobs") + wrote("ReplaceStatus"), 0, "{trace}");
}

/// Of what an operator tells in Events, each once.
fn announced(outcome: &Outcome) -> Vec<String> {
    let line = |line: &String| {
        let (_, reason) = line.split_once("Create Events (")?;
        reason.ends_with(": 201").then(|| reason.to_owned())
    };
    outcome.lines.iter().filter_map(line).collect()
}

#[test]
fn what_a_run_has_come_to_is_announced_though_an_effect_of_it_fails() {
    let scenario = Scenario::plain(2);
    let clean = simulate(7, &scenario, &Plan::default());
    assert!(announced(&clean).len() >= 4, "{:?}", announced(&clean));
    let mut failed = 0;
    for nth in 1..=clean.writes[0] {
        let fault = Fault::Write {
            operator: 0,
            nth,
            what: OnRequest::Answered(500),
        };
        let outcome = simulate(7, &scenario, &Plan(vec![fault]));
        let effect = outcome
            .lines
            .iter()
            .any(|line| line.contains(" Jobs ") && line.ends_with("answered 500"));
        if effect {
            failed += 1;
            assert_eq!(
                announced(&outcome),
                announced(&clean),
                "{}",
                outcome.lines.join("\n")
            );
        }
    }
    assert!(failed >= 4, "only {failed} effects failed");
}

#[test]
fn each_run_of_a_resource_has_events_of_its_own() {
    let once = simulate(7, &Scenario::plain(2), &Plan::default());
    let again = Plan(vec![Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Finished, 1_000),
        what: ByHand::Rerun,
    }]);
    let twice = simulate(7, &Scenario::plain(2), &again);
    let trace = twice.lines.join("\n");
    let passed = |outcome: &Outcome| {
        let announced = announced(outcome);
        announced
            .iter()
            .filter(|reason| reason.starts_with("AllRunnersPassed of a"))
            .count()
    };
    assert_eq!((passed(&once), passed(&twice)), (1, 2), "{trace}");
    assert!(!trace.contains("Patch Events"), "{trace}");
}

#[test]
fn a_runner_whose_job_has_lost_its_labels_is_stopped_at_the_deadline() {
    let mut scenario = Scenario::plain(2);
    scenario.tests[0].endings[1] = (20_000, Ending::Hangs);
    for state in [StateName::Started, StateName::Starting] {
        let plan = Plan(vec![Fault::Hand {
            test: 0,
            when: When::In(0, state, 0),
            what: ByHand::Unlabel(Part::Runner(2)),
        }]);
        let outcome = simulate(7, &scenario, &plan);
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        assert!(
            outcome.ends[0].contains("Finished"),
            "{}\n{trace}",
            outcome.ends[0]
        );
        assert!(trace.contains("Delete Jobs a-2: 200"), "{trace}");
    }
}

#[test]
fn a_start_that_nobody_confirmed_is_stopped_before_its_end_is_told() {
    for runners in 1..=3 {
        let plan = Plan(vec![Fault::Pod {
            test: 0,
            part: Part::Starter,
            what: OnPod::Unheard,
        }]);
        let outcome = simulate(7, &Scenario::plain(runners), &plan);
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        let end = format!("a: run 1 Finished Error StartFailed, {runners} released");
        assert_eq!(outcome.ends, [end], "{trace}");
        assert!(outcome.histories[0].contains("RunnersStopped"), "{trace}");
    }
}

#[test]
fn an_initializer_whose_pod_is_lost_is_made_again() {
    let evicted = Fault::Injection {
        test: 0,
        part: Part::Initializer,
        when: When::In(0, StateName::Initializing, 1_500),
        what: Injection::Evicted,
    };
    let deleted = |after| Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Initializing, after),
        what: ByHand::DeletePod(Part::Initializer),
    };
    // It ends, and the operator can't read it.
    let unread = Fault::Outage {
        operator: 0,
        from: 2_500,
        until: 9_000,
        what: OnRequest::Answered(500),
    };
    for faults in [vec![evicted], vec![deleted(1_500)], vec![unread, deleted(5_000)]] {
        let outcome = simulate(7, &Scenario::plain(2), &Plan(faults));
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        let end = "a: run 1 Finished Passed AllRunnersPassed, 2 released".to_owned();
        assert_eq!(outcome.ends, [end], "{trace}");
        let made = outcome
            .lines
            .iter()
            .filter(|line| line.ends_with("Create Jobs a-initializer: 201"));
        assert_eq!(made.count(), 2, "{trace}");
    }
}

#[test]
fn what_is_told_of_a_finished_run_stays_when_its_jobs_go() {
    let gone = |runner| Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Finished, 5_000),
        what: ByHand::DeleteJob(Part::Runner(runner)),
    };
    let outcome = simulate(7, &Scenario::plain(2), &Plan(vec![gone(1), gone(2)]));
    assert_eq!(outcome.broken, Vec::<String>::new());
    let after = outcome
        .lines
        .iter()
        .skip_while(|line| !line.contains("gone: Jobs a-1"));
    let written: Vec<&String> = after.filter(|line| line.contains("ReplaceStatus")).collect();
    assert_eq!(written, Vec::<&String>::new(), "{}", outcome.lines.join("\n"));
}

#[test]
fn a_write_that_the_api_server_fails_to_do_changes_no_end() {
    let stop = Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Started, 1_000),
        what: ByHand::Stop,
    };
    for others in [vec![], vec![stop]] {
        let scenario = Scenario::plain(2);
        let clean = simulate(7, &scenario, &Plan(others.clone()));
        for nth in 1..=clean.writes[0] {
            for what in [OnRequest::Answered(503), OnRequest::Answered(429)] {
                let fails = Fault::Write {
                    operator: 0,
                    nth,
                    what,
                };
                let plan = Plan([&others[..], &[fails]].concat());
                let outcome = simulate(7, &scenario, &plan);
                assert_eq!(
                    (&outcome.broken, &outcome.ends),
                    (&Vec::new(), &clean.ends),
                    "{plan}\n{}",
                    outcome.lines.join("\n")
                );
            }
        }
    }
}
