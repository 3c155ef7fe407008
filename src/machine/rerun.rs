//! The order of the next run of a resource.

use super::classify::classify;
use super::event::{Event, Former, LAST_WORDS_LIMIT, clipped};
use super::observed::Observed;
use super::replay::Run;
use super::state::{Finished, State};
use jiff::Timestamp;

impl Run {
    /// The next event, if anything has happened that is not in the history yet.
    pub fn next(&self, seen: &Observed, now: Timestamp) -> Option<Event> {
        rerun_ordered(self, seen).or_else(|| classify(&self.state, seen, now))
    }
}

/// Whether this is the run that the spec asks for, and not one before it.
pub(crate) fn is_answered(run: &Run, seen: &Observed) -> bool {
    seen.rerun.is_none() || seen.rerun == run.rerun
}

/// The order of a new run: spec.rerun says something else than what the run that is Finished answers.
pub fn rerun_ordered(run: &Run, seen: &Observed) -> Option<Event> {
    let State::Finished(Finished { at, verdict, .. }) = &run.state else {
        return None;
    };
    let asked = !seen.deleting && !is_answered(run, seen);
    asked.then(|| Event::RerunOrdered {
        attempt: run.attempt.saturating_add(1),
        former: Former {
            result: verdict.result,
            reason: verdict.reason,
            end_time: *at,
            duration: run.duration(),
            message: clipped(&verdict.message, LAST_WORDS_LIMIT),
        },
    })
}
