//! The times at which something happens without a change in the cluster: deadlines, grace periods, and the end of
//! what is kept.

use super::cleanup::Cleanup;
use super::observed::{Fact, Left, Observed, Retention};
use super::state::{Created, Finished, RunResult, Starting, State, Stop, Test};
use jiff::{SignedDuration, Timestamp};

/// How long a script may be missing: its ConfigMap may be applied just after the resource.
pub const SCRIPT_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How long the merged result may take once all runners have ended.
pub const COLLECTION_GRACE: SignedDuration = SignedDuration::from_secs(150);

/// How long the operator tries to keep the documents of a result, from the end of the last runner. Then the run is
/// Finished without them.
pub const SUMMARY_GRACE: SignedDuration = COLLECTION_GRACE;

/// How long the other containers of a runner's pod may run after the end of the run, for example one that ships logs.
/// Then the runner's Job is deleted.
pub const LEFTOVER_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// True if the deadline of this state has passed.
pub fn overdue(state: &State, now: Timestamp) -> bool {
    deadline(state).is_some_and(|deadline| now >= deadline)
}

fn deadline(state: &State) -> Option<Timestamp> {
    let (since, limit) = match state {
        State::Initializing(state) => {
            let accepted = state.accepted().filter(|accepted| !accepted.terms.suspended)?;
            (accepted.at, accepted.terms.initialization_timeout)
        }
        State::Created(Created { at, accepted, .. }) => (*at, accepted.terms.start_timeout),
        State::Starting(Starting {
            at, accepted, plan, ..
        }) => {
            let limit = accepted.terms.start_timeout;
            (*at, limit.saturating_add(plan.setup_timeout()))
        }
        State::Started(state) => match &state.phase {
            Test::Running | Test::OneLost => (state.at, state.plan.deadline()?),
            Test::Collecting(ended) => (ended.at, COLLECTION_GRACE),
        },
        State::Stopping(state) => match state.phase {
            Stop::Ending(_) => (state.at, state.grace),
            Stop::Collecting { since } => (since, COLLECTION_GRACE),
        },
        State::Finished(_) => return None,
    };
    since.checked_add(limit).ok()
}

/// The time at which a Finished resource is deleted, if its spec asks for it.
pub fn expiry(state: &State, retention: Retention) -> Option<Timestamp> {
    let State::Finished(Finished { at, verdict, .. }) = state else {
        return None;
    };
    let Retention { cleanup, ttl } = retention;
    let at_once = match cleanup {
        Some(Cleanup::Post) => true,
        Some(Cleanup::OnSuccess) => verdict.result == RunResult::Passed,
        None => false,
    };
    let after = ttl.and_then(|ttl| at.checked_add(ttl.max(SignedDuration::ZERO)).ok());
    at_once.then_some(*at).into_iter().chain(after).min()
}

/// The time at which the Jobs of a Finished run are deleted. None if there are none, or if they are kept.
pub fn expiry_of_jobs(state: &State, left: &Left) -> Option<Timestamp> {
    let State::Finished(Finished { at, .. }) = state else {
        return None;
    };
    let Left { keep, jobs } = left;
    at.checked_add(keep.filter(|_| !jobs.is_empty())?).ok()
}

/// The time at which the run has to be looked at again even if nothing changes in the cluster.
pub fn wake_at(state: &State, seen: &Observed) -> Option<Timestamp> {
    let (settles, grace) = match state {
        State::Finished(end) => {
            let leftover = seen.each_runner().any(|(_, runner)| runner.leftover);
            (None, leftover.then_some((end.at, LEFTOVER_GRACE)))
        }
        State::Initializing(_)
        | State::Created(_)
        | State::Starting(_)
        | State::Started(_)
        | State::Stopping(_) => {
            let settles = seen.each_runner().filter_map(|(_, runner)| runner.settles).min();
            (settles, script_grace(state, seen).or(summary_grace(state, seen)))
        }
    };
    let grace = grace.and_then(|(since, grace)| since.checked_add(grace).ok());
    let expiry = expiry(state, seen.retention);
    let of_jobs = expiry_of_jobs(state, &seen.left);
    [deadline(state), expiry, of_jobs, grace, settles]
        .into_iter()
        .flatten()
        .min()
}

/// The grace of a script that is missing.
fn script_grace(state: &State, seen: &Observed) -> Option<(Timestamp, SignedDuration)> {
    let State::Initializing(state) = state else {
        return None;
    };
    let missing = seen.initializer.is_absent() && matches!(seen.script, Fact::Known(Err(_)));
    let accepted = state.accepted().filter(|_| missing);
    accepted.map(|accepted| (accepted.at, SCRIPT_GRACE))
}

/// The grace of a result whose documents are not kept yet.
fn summary_grace(state: &State, seen: &Observed) -> Option<(Timestamp, SignedDuration)> {
    let since = state.awaits_result().filter(|_| seen.result.known().is_some());
    since.map(|since| (since, SUMMARY_GRACE))
}
