//! Simulation: the real operator against an API server in this process, under virtual time and one seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod api;
mod cluster;
mod covered;
mod dice;
mod faults;
mod fidelity;
#[path = "../support/happened.rs"]
mod happened;
#[path = "../support/invariants.rs"]
mod invariants;
mod k6;
mod process;
mod scenario;
mod seeds;
#[path = "../support/sequences.rs"]
mod sequences;
mod sim;
mod states;
mod store;
mod strike;
#[path = "../support/faults.rs"]
mod table;
mod watch;
mod witness;
mod world;

use faults::{Fault, OnRequest, Plan};
use scenario::Scenario;
use seeds::{Budget, report, run};
use sim::simulate;
use std::time::Duration;

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

#[test]
fn a_crash_or_a_lost_reply_at_any_write_changes_no_end() {
    let faults = [
        OnRequest::CrashBefore,
        OnRequest::CrashAfter,
        OnRequest::ReplyLost { silent: false },
        OnRequest::ReplyLost { silent: true },
    ];
    let mut simulations = 0;
    for runners in 1..=4 {
        let (seed, scenario) = (u64::from(runners), Scenario::plain(runners));
        let clean = simulate(seed, &scenario, &Plan::default());
        for nth in 1..=clean.writes[0] {
            for what in faults {
                let plan = Plan(vec![Fault::Write {
                    operator: 0,
                    nth,
                    what,
                }]);
                let outcome = simulate(seed, &scenario, &plan);
                simulations += 1;
                assert_eq!(
                    (&outcome.broken, &outcome.ends),
                    (&Vec::new(), &clean.ends),
                    "{runners} runners, {plan}\n{}",
                    outcome.lines.join("\n")
                );
            }
        }
    }
    assert!(simulations > 150, "only {simulations} simulations");
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
    let budget = Budget::from_environment(Duration::from_secs(60));
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
