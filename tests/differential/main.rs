//! One k6 against N runners: each script of `scripts/` is run by a single k6 and, as the operator runs it, by three
//! runners with an aggregator, and both must come to the same verdict for the same reason, with the same counts, the
//! same names in the summary, and percentiles within the bound of `docs/results.md`.
//!
//! No cluster takes part, but all that is between one: the Jobs are those that the operator makes, carried out as
//! processes on this machine, and what they leave is told to the operator's state machine.
//!
//! `K6_BIN` names the k6, and `DIFFERENTIAL=part-of-a-name` leaves out all other scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod compare;
mod jobs;
#[path = "../support/k6.rs"]
mod k6;
mod merged;
mod script;
mod single;
mod site;

use compare::compare;
use futures::StreamExt;
use script::{Script, scripts};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How many scripts run beside each other. Each is four k6, which wait more than they work.
const AT_ONCE: usize = 6;

/// No script takes longer.
const LIMIT: Duration = Duration::from_secs(120);

/// What came of a test, by either way.
#[derive(Debug)]
pub struct Came {
    /// As status.result has it.
    pub result: &'static str,
    /// As status.reason has it.
    pub reason: &'static str,
    /// A person is told this.
    pub message: String,
    /// Whether its load had begun.
    pub is_started: bool,
    /// What handleSummary() is given; none of a test that did not come so far.
    pub data: Option<serde_json::Value>,
    /// What is printed, and why, if handleSummary() fails.
    pub in_place: Option<InPlace>,
}

/// What is printed in place of what handleSummary() returns.
#[derive(Debug)]
pub struct InPlace {
    /// The text.
    pub text: String,
    /// Why it failed, among other words.
    pub error: String,
}

/// What is wrong with one script, which must be nothing.
async fn check(script: &Script) -> Result<(), String> {
    let both = async {
        let site = site::Site::open().await;
        let single = single::run(script, &site).await;
        let merged = merged::run(script, &site).await;
        (single, merged)
    };
    let (single, merged) = tokio::time::timeout(LIMIT, both)
        .await
        .map_err(|_| format!("it takes longer than {} s", LIMIT.as_secs()))?;
    let differing = compare(script, &single, &merged);
    if differing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}\n  one k6:  {} {} {:?}\n  runners: {} {} {:?}",
        differing.join("\n"),
        single.result,
        single.reason,
        single.message,
        merged.result,
        merged.reason,
        merged.message
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_runners_come_to_what_one_k6_comes_to() {
    let version = single::version();
    let part = std::env::var("DIFFERENTIAL").unwrap_or_default();
    let all = scripts();
    assert!(all.len() >= 40, "{} scripts", all.len());
    let (chosen, others): (Vec<_>, Vec<_>) = all
        .into_iter()
        .filter(|script| script.name.contains(&part))
        .partition(|script| script.runs_with(version));
    for script in &others {
        println!("left out with k6 {}.{}: {}", version.0, version.1, script.name);
    }
    let checked = futures::stream::iter(&chosen).map(async |script| {
        let began = Instant::now();
        let found = check(script).await;
        println!(
            "{:5.1} s  {}{}",
            began.elapsed().as_secs_f64(),
            script.name,
            if found.is_ok() { "" } else { ": DIFFERS" }
        );
        (script, found)
    });
    let checked: Vec<_> = checked.buffer_unordered(AT_ONCE).collect().await;
    let mut told = String::new();
    for (script, found) in checked {
        if let Err(wrong) = found {
            writeln!(told, "\n== {}\n{wrong}", script.name).unwrap();
        }
    }
    assert!(told.is_empty(), "with k6 {}.{}:\n{told}", version.0, version.1);
}
