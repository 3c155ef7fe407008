//! The moments at which something happens though nothing is observed: deadlines, graces, and the end of what is kept.

use super::cleanup::Cleanup;
use super::observed::{Fact, Left, Observed, Retention};
use super::state::{Created, Ended, Finished, RunResult, Started, Starting, State, Stopping};
use jiff::{SignedDuration, Timestamp};

/// How long a script may be absent: a ConfigMap that is applied together with the resource may come second.
pub const SCRIPT_GRACE: SignedDuration = SignedDuration::from_secs(10);

/// How long the merged result may take once all runners have ended.
pub const COLLECTION_GRACE: SignedDuration = SignedDuration::from_secs(150);

/// How long the documents of a result are tried to be kept, from the end of the last runner on: as long as the result
/// may take. Then the run is Finished without them.
pub const SUMMARY_GRACE: SignedDuration = COLLECTION_GRACE;

/// How long after the end of the run the other containers of a runner's pod have to end by themselves: one that
/// ships logs, for example. Then the runner's Job is deleted.
pub const LEFTOVER_GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Whether the deadline of this state has passed.
pub fn overdue(state: &State, now: Timestamp) -> bool {
    deadline(state).is_some_and(|deadline| now >= deadline)
}

fn deadline(state: &State) -> Option<Timestamp> {
    let seconds = |limit: u32| SignedDuration::from_secs(limit.into());
    let (since, limit) = match state {
        State::Initializing(state) => {
            let accepted = state
                .accepted
                .as_ref()
                .filter(|accepted| !accepted.terms.suspended)?;
            (
                accepted.at,
                seconds(accepted.terms.initialization_timeout_seconds),
            )
        }
        State::Created(Created { at, accepted, .. }) => (*at, seconds(accepted.terms.start_timeout_seconds)),
        State::Starting(Starting {
            at, accepted, plan, ..
        }) => {
            let setup = plan.aggregation.as_ref().and_then(|how| how.setup_seconds);
            let limit = accepted.terms.start_timeout_seconds;
            (*at, seconds(limit.saturating_add(setup.unwrap_or_default())))
        }
        State::Started(Started {
            ended: Some(Ended { at, .. }),
            ..
        })
        | State::Stopping(Stopping {
            stopped: Some(at), ..
        }) => (*at, COLLECTION_GRACE),
        State::Started(state) => (state.at, seconds(state.plan.deadline_seconds?)),
        State::Stopping(state) => (state.at, seconds(state.grace_seconds)),
        State::Finished(_) => return None,
    };
    since.checked_add(limit).ok()
}

/// When a Finished resource is to be deleted, if its spec says so.
pub fn expiry(state: &State, retention: Retention) -> Option<Timestamp> {
    let State::Finished(Finished { at, verdict, .. }) = state else {
        return None;
    };
    let Retention { cleanup, ttl_seconds } = retention;
    let at_once = match cleanup {
        Some(Cleanup::Post) => true,
        Some(Cleanup::OnSuccess) => verdict.result == RunResult::Passed,
        None => false,
    };
    let after = ttl_seconds.and_then(|ttl| at.checked_add(SignedDuration::from_secs(ttl.max(0))).ok());
    at_once.then_some(*at).into_iter().chain(after).min()
}

/// When the Jobs of a run that has ended are deleted, if any are left.
pub fn expiry_of_jobs(state: &State, left: &Left) -> Option<Timestamp> {
    let State::Finished(Finished { at, .. }) = state else {
        return None;
    };
    let Left { keep_seconds, jobs } = left;
    let seconds = keep_seconds.filter(|_| !jobs.is_empty())?;
    at.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

/// The moment at which something happens even if nothing is observed any more.
pub fn wake_at(state: &State, seen: &Observed) -> Option<Timestamp> {
    let settles = seen.each_runner().filter_map(|(_, runner)| runner.settles).min();
    let waits = !matches!(state, State::Finished(_));
    let settles = settles.filter(|_| waits);
    settles.into_iter().chain(wake_of_state(state, seen)).min()
}

fn wake_of_state(state: &State, seen: &Observed) -> Option<Timestamp> {
    let deadline = deadline(state).or_else(|| expiry(state, seen.retention));
    let of_jobs = expiry_of_jobs(state, &seen.left);
    let deadline = deadline.into_iter().chain(of_jobs).min();
    let state = match state {
        State::Initializing(state) => state,
        State::Finished(end) => {
            let leftover = seen.each_runner().any(|(_, runner)| runner.leftover);
            let limit = end.at.checked_add(LEFTOVER_GRACE).ok().filter(|_| leftover);
            return limit.into_iter().chain(deadline).min();
        }
        State::Created(_) | State::Starting(_) | State::Started(_) | State::Stopping(_) => {
            let kept = state
                .awaits_result()
                .filter(|_| matches!(seen.result, Fact::Known(_)))
                .and_then(|since| since.checked_add(SUMMARY_GRACE).ok());
            return kept.into_iter().chain(deadline).min();
        }
    };
    let grace = state
        .accepted
        .as_ref()
        .and_then(|accepted| accepted.at.checked_add(SCRIPT_GRACE).ok());
    match (&seen.script, &seen.initializer) {
        (Fact::Known(Err(_)), Fact::Absent) => grace.into_iter().chain(deadline).min(),
        (Fact::Known(Ok(())) | Fact::Absent | Fact::Unknown, Fact::Absent)
        | (Fact::Known(_) | Fact::Absent | Fact::Unknown, Fact::Known(_) | Fact::Unknown) => deadline,
    }
}
