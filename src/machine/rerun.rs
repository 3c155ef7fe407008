//! The next run of a resource, which a new text in spec.rerun asks for.

use super::classify::classify;
use super::event::{Event, Former, LAST_WORDS_LIMIT, clipped};
use super::observed::Observed;
use super::replay::Run;
use super::state::{Finished, State};
use jiff::Timestamp;

impl Run {
    /// The next event: something that has happened and is not in the history yet.
    pub fn next(&self, seen: &Observed, now: Timestamp) -> Option<Event> {
        rerun_ordered(self, seen).or_else(|| classify(&self.state, seen, now))
    }
}

/// True if this is the run that spec.rerun asks for. False if it is a former run.
pub(crate) fn is_answered(run: &Run, seen: &Observed) -> bool {
    seen.rerun.is_none() || seen.rerun == run.rerun
}

/// The event that orders a new run: this run is Finished, and spec.rerun has changed since.
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
