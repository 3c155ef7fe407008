//! Seeds: what each is drawn from it, how many are run, and what is told of one that fails.

use super::faults::{Fault, Plan};
use super::scenario::Scenario;
use super::sim::{Outcome, simulate};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How many failed seeds are told before a sweep ends.
const ENOUGH: usize = 5;

/// A seed that takes longer is told: virtual time does not pass by itself.
const SLOW: Duration = Duration::from_secs(5);

/// How many of the last lines of a trace are told.
const LINES: usize = 40;

/// A seed, and what came of it.
pub struct Ran {
    pub scenario: Scenario,
    pub plan: Plan,
    pub outcome: Outcome,
}

/// Runs one seed. Where no fault may change the end, the end is compared with that of a run without any.
pub fn run(seed: u64) -> Ran {
    let mut rng = fastrand::Rng::with_seed(seed);
    let scenario = Scenario::draw(&mut rng);
    let plan = Plan::draw(&mut rng, &scenario);
    let mut outcome = simulate(seed, &scenario, &plan);
    let comparable = outcome.broken.is_empty() && plan.0.iter().all(Fault::is_benign);
    if comparable {
        let clean = simulate(seed, &scenario, &Plan::default());
        if clean.ends != outcome.ends {
            outcome.broken.push(format!(
                "I8 is broken: {}, but {} without faults",
                outcome.ends.join("; "),
                clean.ends.join("; ")
            ));
        }
    }
    Ran {
        scenario,
        plan,
        outcome,
    }
}

/// Which seeds are run, and for how long.
pub struct Budget {
    pub seeds: Range<u64>,
    time: Duration,
}

impl Budget {
    /// `K6OP_SEEDS=from..to` runs these, `K6OP_SECONDS` so long.
    pub fn from_environment(time: Duration) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let seconds = variable("K6OP_SECONDS").and_then(|text| text.parse().ok());
        let range = variable("K6OP_SEEDS").and_then(|text| {
            let (from, to) = text.split_once("..")?;
            Some(from.parse().ok()?..to.parse().ok()?)
        });
        Self {
            time: seconds.map_or(
                if range.is_some() { Duration::MAX } else { time },
                Duration::from_secs,
            ),
            seeds: range.unwrap_or(0..u64::MAX),
        }
    }
}

/// Runs seeds one after the other on so many threads, and says how many, and which failed.
pub fn sweep(budget: &Budget, threads: usize) -> (u64, Vec<u64>) {
    let (next, done) = (AtomicU64::new(budget.seeds.start), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while began.elapsed() < budget.time {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= budget.seeds.end {
                        break;
                    }
                    let began_one = Instant::now();
                    let ran = run(seed);
                    if began_one.elapsed() > SLOW {
                        println!("seed {seed} took {:.1} s", began_one.elapsed().as_secs_f64());
                    }
                    if !ran.outcome.broken.is_empty() {
                        println!("seed {seed}: {}", ran.outcome.broken.join("; "));
                        let mut failed = failed.lock().unwrap();
                        failed.push(seed);
                        if failed.len() >= ENOUGH {
                            break;
                        }
                    }
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if count.is_multiple_of(10_000) {
                        let each = count as f64 / began.elapsed().as_secs_f64();
                        println!("{count} simulations, {each:.0} a second");
                    }
                }
            });
        }
    });
    (done.into_inner(), failed.into_inner().unwrap())
}

/// What is told of a seed that failed.
pub fn report(seed: u64) -> String {
    let Ran {
        scenario,
        plan,
        outcome,
    } = run(seed);
    let clean = simulate(seed, &scenario, &Plan::default());
    let mut text = format!("\nseed {seed}: {}\n", outcome.broken.join("; "));
    let mut add = |title: &str, body: &str| {
        let _ = write!(text, "\n{title}\n{body}\n");
    };
    add(
        "to see it again:",
        &format!(
            "K6OP_SEEDS={seed}..{} cargo test --test simulation -- random --nocapture",
            seed + 1
        ),
    );
    add("the scenario:", &scenario.to_string());
    add("what goes wrong:", &plan.to_string());
    for (with, without) in outcome.histories.iter().zip(&clean.histories) {
        add("the history:", with);
        add("the same without faults:", without);
    }
    let from = outcome.lines.len().saturating_sub(LINES);
    add("the last that happened:", &outcome.lines[from..].join("\n"));
    text
}
