//! Simulation: the real operator against an API server in this process, under virtual time and one seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod cluster;
#[path = "../support/coverage.rs"]
mod coverage;
mod covered;
mod ends;
mod faults;
mod fidelity;
mod inject;
#[path = "../support/invariants.rs"]
mod invariants;
mod k6;
mod many;
mod merged;
mod process;
mod recorder;
mod refused;
mod rng;
mod scenario;
mod seeds;
#[path = "../support/sequences.rs"]
mod sequences;
mod sim;
mod states;
mod store;
#[path = "../support/faults.rs"]
mod table;
mod watch;
mod world;

use faults::{ByHand, Fault, OnRequest, OnWatch, Part, Plan, When};
use k6_operator::machine::StateName;
use scenario::{Operators, Scenario, Source};
use seeds::{Budget, report, run};
use sim::{Outcome, simulate};
use std::time::Duration;
use store::Table;

#[test]
fn a_run_in_which_nothing_goes_wrong_passes() {
    for runners in 1..=4 {
        let outcome = simulate(u64::from(runners), &Scenario::plain(runners), &Plan::default());
        let end = format!("a: run 1 Finished Passed AllRunnersPassed, {runners} released");
        assert_eq!(
            (outcome.broken, outcome.ends),
            (Vec::new(), vec![end]),
            "{}",
            outcome.lines.join("\n")
        );
    }
}

/// Each fault by itself comes to the end that the run has without it.
fn same_end(seed: u64, scenario: &Scenario, faults: impl Fn(&Outcome) -> Vec<Fault>) -> usize {
    let clean = simulate(seed, scenario, &Plan::default());
    let plans = faults(&clean).into_iter().map(|fault| Plan(vec![fault]));
    same_end_as(&clean, seed, scenario, plans)
}

/// Each plan comes to the end that the run has without it.
fn same_end_as(
    clean: &Outcome,
    seed: u64,
    scenario: &Scenario,
    plans: impl IntoIterator<Item = Plan>,
) -> usize {
    let mut wrong = Vec::new();
    let mut simulations = 0;
    for plan in plans {
        let outcome = simulate(seed, scenario, &plan);
        if !outcome.broken.is_empty() || outcome.ends != clean.ends {
            println!("{plan}{}", outcome.lines.join("\n"));
            wrong.push(format!("{:?}: {:?} {:?}", plan.0, outcome.ends, outcome.broken));
        }
        simulations += 1;
    }
    assert!(wrong.is_empty(), "{:?} without\n{}", clean.ends, wrong.join("\n"));
    simulations
}

#[test]
fn a_crash_or_a_lost_reply_at_any_write_changes_no_end() {
    let faults = [
        OnRequest::CrashBefore,
        OnRequest::CrashAfter,
        OnRequest::ReplyLost { silent: false },
        OnRequest::ReplyLost { silent: true },
    ];
    let simulations = (1..=4).map(|runners| {
        same_end(runners.into(), &Scenario::plain(runners), |clean| {
            let writes = (1..=clean.writes[0]).flat_map(|nth| faults.map(|what| (nth, what)));
            let fault = |(nth, what)| Fault::Write {
                operator: 0,
                nth,
                what,
            };
            writes.map(fault).collect()
        })
    });
    let simulations: usize = simulations.sum();
    assert!(simulations > 150, "only {simulations} simulations");
}

#[test]
fn a_read_that_fails_changes_no_end() {
    let faults = [OnRequest::Answered(500), OnRequest::RequestLost { silent: true }];
    for source in [Source::ConfigMap, Source::Inline] {
        let mut scenario = Scenario::plain(2);
        scenario.tests[0].source = source;
        same_end(2, &scenario, |clean| {
            let reads = (1..=clean.reads[0]).flat_map(|nth| faults.map(|what| (nth, what)));
            let fault = |(nth, what)| Fault::Read {
                operator: 0,
                nth,
                what,
            };
            reads.map(fault).collect()
        });
    }
}

/// The views of operator 0 that are held back: of each table, from some moments of each state on.
fn held() -> impl Iterator<Item = (StateName, Fault)> {
    let tables = [Table::K6s, Table::Jobs, Table::Pods];
    let views = StateName::ALL
        .into_iter()
        .flat_map(move |state| tables.map(|table| (state, table)));
    let held = views.flat_map(|(state, table)| [5, 400, 1_500].map(|later| (state, table, later)));
    held.map(|(state, table, later)| {
        let fault = Fault::Watch {
            operator: 0,
            table,
            when: When::In(0, state, later),
            what: OnWatch::Held(15_000),
        };
        (state, fault)
    })
}

#[test]
fn a_view_that_lags_behind_changes_no_end() {
    same_end(2, &Scenario::plain(2), |_| {
        held().map(|(_, fault)| fault).collect()
    });
}

#[test]
fn what_an_initializer_said_is_read_while_the_view_of_its_pod_lags_behind() {
    let held = Fault::Watch {
        operator: 0,
        table: Table::Pods,
        when: When::In(0, StateName::Initializing, 5),
        what: OnWatch::Held(40_000),
    };
    let lead = |plan: Plan| {
        let outcome = simulate(2, &Scenario::plain(2), &plan);
        assert_eq!(
            outcome.broken,
            Vec::<String>::new(),
            "{}",
            outcome.lines.join("\n")
        );
        when(&outcome, Some("ScriptInspected"))[0]
    };
    let late = lead(Plan(vec![held])) - lead(Plan::default());
    assert!(late < 5_000, "{late} ms late");
}

#[test]
fn an_operator_whose_view_lags_behind_takes_over_and_changes_no_end() {
    let mut scenario = Scenario::plain(2);
    scenario.operators = Operators::Two;
    let clean = simulate(3, &scenario, &Plan::default());
    let plans = held().flat_map(|(state, fault)| {
        let later = StateName::ALL.into_iter().filter(move |later| *later >= state);
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

#[test]
fn an_operator_that_does_not_see_the_runners_takes_a_read_that_fails_for_no_answer() {
    let mut scenario = Scenario::plain(2);
    scenario.operators = Operators::Two;
    let held = |table, ms| Fault::Watch {
        operator: 0,
        table,
        when: When::In(0, StateName::Initializing, 5),
        what: OnWatch::Held(ms),
    };
    // It sees the start, and not that the other operator has made the runners.
    let blind = [held(Table::K6s, 6_000), held(Table::Jobs, 60_000)];
    let reads = simulate(3, &scenario, &Plan(blind.to_vec())).reads[0];
    let mut unread = 0;
    for nth in 1..=reads {
        let failed = Fault::Read {
            operator: 0,
            nth,
            what: OnRequest::Answered(500),
        };
        let outcome = simulate(3, &scenario, &Plan(blind.into_iter().chain([failed]).collect()));
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        assert!(!outcome.histories[0].contains("RunnerLost"), "{trace}");
        unread += usize::from(trace.contains("Get Jobs a-1: answered 500"));
    }
    assert!(unread > 1, "no read of a runner has failed");
}

#[test]
fn an_operator_that_sees_the_run_as_it_was_before_its_start_makes_no_runner_again() {
    let mut scenario = Scenario::plain(2);
    scenario.operators = Operators::Two;
    let held = Fault::Watch {
        operator: 0,
        table: Table::K6s,
        when: When::In(0, StateName::Created, 50),
        what: OnWatch::Held(30_000),
    };
    let deleted = Fault::Hand {
        test: 0,
        when: When::In(0, StateName::Started, 2_000),
        what: ByHand::DeleteJob(Part::Runner(1)),
    };
    for seed in 0..10 {
        let outcome = simulate(seed, &scenario, &Plan(vec![held, deleted]));
        let trace = outcome.lines.join("\n");
        assert_eq!(outcome.broken, Vec::<String>::new(), "{trace}");
        assert_eq!(trace.matches("Create Jobs a-1: 201").count(), 1, "{trace}");
    }
}

#[test]
fn a_leader_that_was_frozen_past_its_lease_does_nothing_more() {
    let mut scenario = Scenario::plain(2);
    scenario.operators = Operators::Leased;
    let clean = simulate(1, &scenario, &Plan::default());
    let states = StateName::ALL.into_iter();
    let frozen = states.flat_map(|state| [(0, state, 0), (0, state, 3), (1, state, 0), (1, state, 3)]);
    let plans = frozen.map(|(operator, state, later)| {
        Plan(vec![Fault::Freeze {
            operator,
            when: When::In(0, state, later),
            ms: 20_000,
        }])
    });
    same_end_as(&clean, 1, &scenario, plans);
}

/// When, in ms, this happened to each test first, or last what did.
fn when(outcome: &Outcome, event: Option<&str>) -> Vec<i64> {
    let times = outcome.histories.iter().map(|history| {
        let mut records = history
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let record = match event {
            Some(event) => records.find(|record| record["event"] == event),
            None => records.next_back(),
        };
        let record = record.unwrap();
        let time: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
        time.as_millisecond()
    });
    times.collect()
}

#[test]
fn a_run_of_which_a_request_hangs_does_not_delay_another() {
    let mut scenario = Scenario::plain(2);
    scenario.tests.push(scenario::Test::plain("b", 2));
    scenario.addresses = 6;
    let clean = simulate(5, &scenario, &Plan::default());
    let in_time = when(&clean, None);
    let mut late = 0;
    for nth in 1..=clean.writes[0] {
        let fault = Fault::Write {
            operator: 0,
            nth,
            what: OnRequest::ReplyLost { silent: true },
        };
        let outcome = simulate(5, &scenario, &Plan(vec![fault]));
        let trace = outcome.lines.join("\n");
        assert_eq!(
            (&outcome.broken, &outcome.ends),
            (&Vec::new(), &clean.ends),
            "{trace}"
        );
        let delays = when(&outcome, None)
            .into_iter()
            .zip(&in_time)
            .map(|(now, then)| now - then);
        let late_ones = delays.filter(|delay| *delay > 5_000).count();
        assert!(late_ones < 2, "both are late after {fault:?}: {trace}");
        late += late_ones;
    }
    assert!(late > 5, "only {late} runs were late: nothing hung");
}

#[test]
fn what_the_api_server_refuses_for_good_is_told_in_its_words_when_the_deadline_passes() {
    for (source, table) in [
        (Source::ConfigMap, Table::Jobs),
        (Source::Inline, Table::ConfigMaps),
    ] {
        let mut scenario = Scenario::plain(2);
        scenario.tests[0].source = source;
        let refused = Fault::Refused {
            table,
            when: When::At(0),
            ms: None,
        };
        let outcome = simulate(2, &scenario, &Plan(vec![refused]));
        assert_eq!(outcome.broken, Vec::<String>::new());
        let last = outcome.histories[0].lines().last().unwrap();
        assert!(
            last.contains("InitializationDeadlineExceeded") || last.contains("DeadlinePassed"),
            "{last}"
        );
        assert!(last.contains("was refused: "), "{last}");
    }
}

#[test]
fn a_watch_that_is_silently_dead_is_opened_again_before_a_deadline_passes() {
    same_end(2, &Scenario::plain(2), |_| {
        let tables = [Table::K6s, Table::Jobs, Table::Pods];
        let silent = tables.map(|table| Fault::Watch {
            operator: 0,
            table,
            when: When::In(0, StateName::Started, 5),
            what: OnWatch::Silent,
        });
        silent.to_vec()
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..40 {
        let (first, second) = (run(seed), run(seed));
        let differs = first
            .outcome
            .lines
            .iter()
            .zip(&second.outcome.lines)
            .position(|(a, b)| a != b);
        assert_eq!(
            (first.outcome.hash, differs),
            (second.outcome.hash, None),
            "seed {seed}:\n{}\n{}",
            first.outcome.lines[differs.unwrap_or(0)..]
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n"),
            second.outcome.lines[differs.unwrap_or(0)..]
                .iter()
                .take(3)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
}

#[test]
fn random_faults_break_no_invariant() {
    let budget = Budget::from_environment(Duration::from_secs(40));
    let (done, failed) = seeds::sweep(&budget, 1);
    println!("{done} simulations");
    assert!(
        failed.is_empty(),
        "{}",
        failed.iter().map(|seed| report(*seed)).collect::<String>()
    );
}

/// `make torture`: on all cores, until it is stopped.
#[test]
#[ignore = "goes on until it is stopped, or for K6OP_SECONDS"]
fn torture() {
    let budget = Budget::from_environment(Duration::MAX);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (done, failed) = seeds::sweep(&budget, cores);
    println!("{done} simulations");
    assert!(
        failed.is_empty(),
        "{}",
        failed.iter().map(|seed| report(*seed)).collect::<String>()
    );
}

/// `K6OP_SEEDS=from..to cargo test --test simulation -- --ignored --nocapture trace` prints all that happens.
#[test]
#[ignore = "for reading"]
fn trace() {
    for seed in Budget::from_environment(Duration::ZERO).seeds {
        let ran = run(seed);
        println!("{}\n{}", ran.scenario, ran.plan);
        println!("{}\n{:?}", ran.outcome.lines.join("\n"), ran.outcome.ends);
        println!("{:?}, {} ms", ran.outcome.broken, ran.outcome.took);
    }
}
