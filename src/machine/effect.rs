//! What a state wants created or deleted. It follows from the state and not from the transition into it: after a crash
//! anywhere, the next look derives the same effects again.

use super::classify::stop_is_forced;
use super::deadline::{LEFTOVER_GRACE, expiry, expiry_of_jobs};
use super::observed::{Fact, Initializer, Observed, Program, Runner};
use super::pods_digest::pods_digest;
use super::state::{Created, Finished, Initializing, Reason, Starting, State, Stop, Stopping, Test};
use super::terms::{Inspect, Terms};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A change in the cluster. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Create the ConfigMap for the script in `spec.script.inline`.
    CreateScript,
    /// Create the initializer Job.
    CreateInitializer,
    /// Delete the initializer Job: it is outdated, lost, or not needed any more.
    DeleteInitializer,
    /// Create the aggregator Job.
    CreateAggregator {
        /// The options of the script that the aggregator needs, as JSON.
        options: String,
    },
    /// Create the Service by which the runners reach the aggregator.
    CreateService,
    /// Delete the aggregator Job, and its Service with it.
    DeleteAggregator,
    /// Create the ConfigMap with the documents that the aggregator reported.
    KeepSummary,
    /// Create the Job of one runner.
    CreateRunner {
        /// Number of the runner, from 1 to `of`.
        runner: u32,
        /// Number of all runners.
        of: u32,
    },
    /// Delete the Job of one runner, whose pod must not run any longer.
    DeleteRunner {
        /// Number of the runner.
        runner: u32,
    },
    /// Create the starter Job, which releases exactly these runners.
    CreateStarter(Vec<Target>),
    /// Delete the starter Job, which must not release any runner any more.
    DeleteStarter,
    /// Create the stopper Job, which stops these runners.
    CreateStopper(Vec<Target>),
    /// Delete a Job of a former run of this resource.
    DeleteFormer(String),
    /// Delete a Job of this Finished run, which is not kept any longer.
    DeleteLeft(String),
    /// Delete the resource itself, and all that it owns with it.
    DeleteResource,
}

/// A runner that a starter or stopper calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Number of the runner.
    pub runner: u32,
    /// IP address of its pod.
    pub ip: String,
}

/// The changes that this state wants, given a snapshot of the cluster.
pub fn effects(state: &State, seen: &Observed, now: Timestamp) -> Vec<Effect> {
    if seen.deleting {
        return Vec::new();
    }
    if expiry(state, seen.retention).is_some_and(|at| now >= at) {
        return vec![Effect::DeleteResource];
    }
    let former = seen.former.iter().cloned().map(Effect::DeleteFormer);
    of_this_run(state, seen, now).into_iter().chain(former).collect()
}

/// The changes that are made even if the new status can't be written: the load of a run that is to be stopped or has
/// ended must not go on. They need no record.
pub fn effects_unwritten(before: &State, after: &State, seen: &Observed) -> Vec<Effect> {
    let ends = matches!(after, State::Stopping(_) | State::Finished(_));
    if seen.deleting || !ends || matches!(before, State::Finished(_)) {
        return Vec::new();
    }
    runners_to_delete(seen).chain(starter_to_delete(seen)).collect()
}

fn of_this_run(state: &State, seen: &Observed, now: Timestamp) -> Vec<Effect> {
    match state {
        State::Initializing(Initializing::New) => Vec::new(),
        State::Initializing(Initializing::Accepted(accepted)) => initializing(&accepted.terms, seen),
        State::Created(state) => created(state, seen),
        State::Starting(state) => {
            let runners = seen.runners.known().filter(|_| seen.starter.is_absent());
            // All or none: a test without one of its runners would be another test.
            let ordered = runners.filter(|runners| are_as_ordered(state, runners));
            let starter = ordered.map(|runners| Effect::CreateStarter(targets(runners)));
            starter.into_iter().collect()
        }
        State::Started(state) => match state.phase {
            Test::Running | Test::OneLost => Vec::new(),
            Test::Collecting(_) => summary_to_keep(seen).into_iter().collect(),
        },
        State::Stopping(state) => match state.phase {
            Stop::Ending(_) => ending(state, seen, now),
            Stop::Collecting { since: _ } => summary_to_keep(seen).into_iter().collect(),
        },
        State::Finished(_) if expiry_of_jobs(state, &seen.left).is_some_and(|at| now >= at) => {
            let left = seen.left.jobs.iter().cloned().map(Effect::DeleteLeft);
            left.chain(aggregator_to_delete(seen)).collect()
        }
        State::Finished(end) => {
            // Nothing waits for the inspection any more.
            let moot = matches!(
                end.verdict.reason,
                Reason::StopRequested | Reason::InvalidSpec | Reason::ObjectRefused
            ) && matches!(seen.initializer, Fact::Known(Initializer::Running(_)));
            runners_to_delete(seen)
                .chain(leftovers_to_delete(end, seen, now))
                .chain(moot.then_some(Effect::DeleteInitializer))
                .chain(starter_to_delete(seen))
                .chain(aggregator_to_delete(seen))
                .collect()
        }
    }
}

/// The aggregator is created first: the runners are created with its address.
fn created(state: &Created, seen: &Observed) -> Vec<Effect> {
    let of = state.plan.parallelism;
    let Fact::Known(runners) = &seen.runners else {
        return Vec::new();
    };
    let mut missing = (1..=of).filter(|i| !runners.contains_key(i)).peekable();
    if state.plan.aggregation.is_some() {
        match (&seen.aggregator, &seen.initializer) {
            (Fact::Absent, Fact::Known(Initializer::Succeeded(Ok(inspection)))) => {
                return vec![Effect::CreateAggregator {
                    options: inspection.options.clone(),
                }];
            }
            // The aggregator needs the options of the script, which only k6's answer has.
            (Fact::Absent, Fact::Absent) => return vec![Effect::CreateInitializer],
            (Fact::Absent, Fact::Known(Initializer::Lost(_))) => return vec![Effect::DeleteInitializer],
            (Fact::Absent, Fact::Known(_) | Fact::Unknown) | (Fact::Unknown, _) => return Vec::new(),
            (Fact::Known(_), _) => {}
        }
        if missing.peek().is_some() {
            match seen.address {
                Fact::Known(_) => {}
                Fact::Absent => return vec![Effect::CreateService],
                Fact::Unknown => return Vec::new(),
            }
        }
    }
    missing
        .map(|runner| Effect::CreateRunner { runner, of })
        .collect()
}

/// Runners are told to end by the stopper; those that do not, or that can't be told, are deleted.
fn ending(state: &Stopping, seen: &Observed, now: Timestamp) -> Vec<Effect> {
    if stop_is_forced(state, seen, now) {
        return runners_to_delete(seen).chain(starter_to_delete(seen)).collect();
    }
    let runners = seen.runners.known().filter(|_| seen.stopper.is_absent());
    let reachable = runners.map(targets).filter(|targets| !targets.is_empty());
    let stopper = reachable.map(Effect::CreateStopper);
    starter_to_delete(seen).into_iter().chain(stopper).collect()
}

/// The documents are kept before the run is Finished: then the aggregator, which has them, is deleted.
fn summary_to_keep(seen: &Observed) -> Option<Effect> {
    let result = seen.result.known().filter(|_| seen.summary.is_absent());
    result.map(|_| Effect::KeepSummary)
}

fn aggregator_to_delete(seen: &Observed) -> Option<Effect> {
    seen.aggregator.known().map(|_| Effect::DeleteAggregator)
}

/// An accepted spec wants its script in place and inspected, unless the run is suspended.
fn initializing(terms: &Terms, seen: &Observed) -> Vec<Effect> {
    match (&seen.initializer, &seen.script) {
        (Fact::Known(Initializer::Outdated | Initializer::Lost(_)), _) => vec![Effect::DeleteInitializer],
        (Fact::Known(_), _) if terms.suspended => vec![Effect::DeleteInitializer],
        (Fact::Known(_) | Fact::Unknown, _) | (Fact::Absent, Fact::Known(Err(_)) | Fact::Unknown) => {
            Vec::new()
        }
        (Fact::Absent, Fact::Known(Ok(())) | Fact::Absent) if terms.suspended => Vec::new(),
        (Fact::Absent, Fact::Known(Ok(()))) if terms.inspect == Inspect::Skip => Vec::new(),
        (Fact::Absent, Fact::Known(Ok(()))) => vec![Effect::CreateInitializer],
        (Fact::Absent, Fact::Absent) => vec![Effect::CreateScript],
    }
}

/// Deletes the runners that have not ended.
fn runners_to_delete(seen: &Observed) -> impl Iterator<Item = Effect> {
    let alive = seen.each_runner().filter(|(_, runner)| runner.end.is_none());
    alive.map(|(i, _)| Effect::DeleteRunner { runner: i })
}

/// Deletes the runners whose pod still runs another container after [`LEFTOVER_GRACE`].
fn leftovers_to_delete(end: &Finished, seen: &Observed, now: Timestamp) -> impl Iterator<Item = Effect> {
    let over = end.at.checked_add(LEFTOVER_GRACE).is_ok_and(|limit| now >= limit);
    let left = seen
        .each_runner()
        .filter(move |(_, runner)| over && runner.leftover);
    left.map(|(i, _)| Effect::DeleteRunner { runner: i })
}

/// Deletes a starter that still runs: its addresses may belong to pods of another run by the time it calls them.
fn starter_to_delete(seen: &Observed) -> Option<Effect> {
    match &seen.starter {
        Fact::Known(Program::Running(_)) => Some(Effect::DeleteStarter),
        Fact::Known(Program::Reported(_) | Program::Failed(_)) | Fact::Absent | Fact::Unknown => None,
    }
}

/// True if these runners are exactly those that the order to start names, and all of them can be released.
pub fn are_as_ordered(state: &Starting, runners: &BTreeMap<u32, Runner>) -> bool {
    let same = pods_digest(runners).as_ref() == Some(&state.pods);
    same && targets(runners).len() == runners.len()
}

fn targets(runners: &BTreeMap<u32, Runner>) -> Vec<Target> {
    let alive = runners.iter().filter(|(_, runner)| runner.end.is_none());
    let addressed = alive.filter_map(|(i, runner)| Some((*i, runner.pod.as_ref()?.ip.clone()?)));
    addressed.map(|(runner, ip)| Target { runner, ip }).collect()
}
