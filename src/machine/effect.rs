//! What a state wants to exist and does not, or exists and should not. Derived from the state, not from the
//! transition into it, so that a crash anywhere re-derives it.

use super::classify::stop_is_forced;
use super::deadline::{LEFTOVER_GRACE, expiry, expiry_of_jobs};
use super::observed::{Fact, Initializer, Observed, Program, Runner};
use super::pods_digest::pods_digest;
use super::state::{Created, Finished, Reason, Started, Starting, State, Stopping, Terms};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Something to do in the cluster. Each is idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make the ConfigMap with the script that the spec has inline.
    CreateScript,
    /// Make the initializer Job.
    CreateInitializer,
    /// Remove the initializer Job, which is outdated, lost, or not waited for any more.
    DeleteInitializer,
    /// Make the aggregator Job, for a script with these options.
    CreateAggregator {
        /// JSON.
        options: String,
    },
    /// Make the Service at whose address the runners reach the aggregator.
    CreateService,
    /// Remove the aggregator Job, and with it its Service.
    DeleteAggregator,
    /// Keep the documents that the aggregator has told.
    KeepSummary,
    /// Make the Job of runner i of n.
    CreateRunner {
        /// Its number, 1 to `of`.
        runner: u32,
        /// All runners.
        of: u32,
    },
    /// Remove the Job of runner i, whose pod must not run on.
    DeleteRunner {
        /// Its number.
        runner: u32,
    },
    /// Make the starter Job, which releases exactly these runners.
    CreateStarter(Vec<Target>),
    /// Remove the starter Job, which must not release anything any more.
    DeleteStarter,
    /// Make the stopper Job, which stops these runners.
    CreateStopper(Vec<Target>),
    /// Remove a Job of a former run of this resource.
    DeleteFormer(String),
    /// Remove a Job of this run, which is Finished and no longer kept.
    DeleteLeft(String),
    /// Remove the resource itself, and with it all that it owns.
    DeleteResource,
}

/// A runner to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number.
    pub runner: u32,
    /// Its pod's IP.
    pub ip: String,
}

/// What this state wants done, given what was observed.
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

/// What is done of a run whose status can't be written, though it is to be stopped or has ended: no load goes on that
/// nobody wants. Nothing of it has to be remembered.
pub fn effects_unwritten(before: &State, after: &State, seen: &Observed) -> Vec<Effect> {
    let ends = matches!(after, State::Stopping(_) | State::Finished(_));
    if seen.deleting || !ends || matches!(before, State::Finished(_)) {
        return Vec::new();
    }
    runners_to_delete(seen).chain(starter_to_delete(seen)).collect()
}

fn of_this_run(state: &State, seen: &Observed, now: Timestamp) -> Vec<Effect> {
    match state {
        State::Initializing(state) => match &state.accepted {
            Some(accepted) => initializing(&accepted.terms, seen),
            None => Vec::new(),
        },
        State::Created(state) => created(state, seen),
        State::Starting(state) => match (&seen.starter, &seen.runners) {
            (Fact::Absent, Fact::Known(runners)) => {
                // All or none: a start that leaves one out is no start.
                if are_as_ordered(state, runners) {
                    vec![Effect::CreateStarter(targets(runners))]
                } else {
                    Vec::new()
                }
            }
            (Fact::Known(_) | Fact::Unknown, _) | (Fact::Absent, Fact::Absent | Fact::Unknown) => Vec::new(),
        },
        State::Started(Started { ended: Some(_), .. })
        | State::Stopping(Stopping { stopped: Some(_), .. }) => collection(seen),
        State::Started(_) => Vec::new(),
        State::Stopping(state) if stop_is_forced(state, seen, now) => {
            runners_to_delete(seen).chain(starter_to_delete(seen)).collect()
        }
        State::Stopping(_) => {
            let stopper = match (&seen.stopper, &seen.runners) {
                (Fact::Absent, Fact::Known(runners)) => {
                    let targets = targets(runners);
                    (!targets.is_empty()).then_some(Effect::CreateStopper(targets))
                }
                (Fact::Known(_) | Fact::Unknown, _) | (Fact::Absent, Fact::Absent | Fact::Unknown) => None,
            };
            starter_to_delete(seen).into_iter().chain(stopper).collect()
        }
        State::Finished(_) if expiry_of_jobs(state, &seen.left).is_some_and(|at| now >= at) => {
            let left = seen.left.jobs.iter().cloned().map(Effect::DeleteLeft);
            left.chain(aggregator_to_delete(seen)).collect()
        }
        State::Finished(end) => {
            // Nobody waits for it any more.
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

/// The aggregator first, of which the runners are told.
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
            // What it said is needed once more.
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

/// The documents are kept before the run is told to be Finished, and before the aggregator goes, which has them.
fn collection(seen: &Observed) -> Vec<Effect> {
    match (&seen.result, &seen.summary) {
        (Fact::Known(_), Fact::Absent) => vec![Effect::KeepSummary],
        (Fact::Known(_), Fact::Known(()) | Fact::Unknown) | (Fact::Absent | Fact::Unknown, _) => Vec::new(),
    }
}

fn aggregator_to_delete(seen: &Observed) -> Option<Effect> {
    match &seen.aggregator {
        Fact::Known(_) => Some(Effect::DeleteAggregator),
        Fact::Absent | Fact::Unknown => None,
    }
}

/// What a spec wants that was accepted: the script in place, and k6's opinion of it.
fn initializing(terms: &Terms, seen: &Observed) -> Vec<Effect> {
    match (&seen.initializer, &seen.script) {
        (Fact::Known(Initializer::Outdated | Initializer::Lost(_)), _) => vec![Effect::DeleteInitializer],
        (Fact::Known(_), _) if terms.suspended => vec![Effect::DeleteInitializer],
        (Fact::Known(_) | Fact::Unknown, _) | (Fact::Absent, Fact::Known(Err(_)) | Fact::Unknown) => {
            Vec::new()
        }
        (Fact::Absent, Fact::Known(Ok(())) | Fact::Absent) if terms.suspended => Vec::new(),
        (Fact::Absent, Fact::Known(Ok(()))) if terms.uninspected => Vec::new(),
        (Fact::Absent, Fact::Known(Ok(()))) => vec![Effect::CreateInitializer],
        (Fact::Absent, Fact::Absent) => vec![Effect::CreateScript],
    }
}

/// Those that have not ended.
fn runners_to_delete(seen: &Observed) -> impl Iterator<Item = Effect> {
    let alive = seen.each_runner().filter(|(_, runner)| runner.end.is_none());
    alive.map(|(i, _)| Effect::DeleteRunner { runner: i })
}

/// Those in whose pod something goes on that is not k6, and had its time to end by itself.
fn leftovers_to_delete(end: &Finished, seen: &Observed, now: Timestamp) -> impl Iterator<Item = Effect> {
    let over = end.at.checked_add(LEFTOVER_GRACE).is_ok_and(|limit| now >= limit);
    let left = seen
        .each_runner()
        .filter(move |(_, runner)| over && runner.leftover);
    left.map(|(i, _)| Effect::DeleteRunner { runner: i })
}

/// One that is left alone would release whoever answers at an address, should it be another run's by then.
fn starter_to_delete(seen: &Observed) -> Option<Effect> {
    match &seen.starter {
        Fact::Known(Program::Running(_)) => Some(Effect::DeleteStarter),
        Fact::Known(Program::Reported(_) | Program::Failed(_)) | Fact::Absent | Fact::Unknown => None,
    }
}

/// Whether these runners can all be released, and are those that the order to start names.
pub fn are_as_ordered(state: &Starting, runners: &BTreeMap<u32, Runner>) -> bool {
    let same = pods_digest(runners).as_ref() == Some(&state.pods);
    same && targets(runners).len() == runners.len()
}

fn targets(runners: &BTreeMap<u32, Runner>) -> Vec<Target> {
    let alive = runners.iter().filter(|(_, runner)| runner.end.is_none());
    let addressed = alive.filter_map(|(i, runner)| Some((*i, runner.pod.as_ref()?.ip.clone()?)));
    addressed.map(|(runner, ip)| Target { runner, ip }).collect()
}
