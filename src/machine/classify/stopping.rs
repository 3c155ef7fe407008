//! Events after the order to stop: the runners have stopped, the merged result is there.

use super::aggregator::collected;
use super::refusals::refusal_of;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Observed, Program};
use crate::machine::pod_refusal::{Part, PodRefusal};
use crate::machine::state::{Stop, Stopping};
use jiff::Timestamp;

pub(super) fn stopping(state: &Stopping, seen: &Observed, now: Timestamp) -> Option<Event> {
    if let Stop::Collecting { since } = state.phase {
        return collected(since, seen, now);
    }
    let alive = match &seen.runners {
        Fact::Known(runners) => runners.values().filter(|runner| runner.end.is_none()).count(),
        Fact::Absent => 0,
        Fact::Unknown => return None,
    };
    // A starter that may still release a runner has to end first, but not longer than the grace of the stop.
    let starting = match &seen.starter {
        Fact::Known(Program::Running(_)) | Fact::Unknown => true,
        Fact::Known(Program::Reported(_) | Program::Failed(_)) | Fact::Absent => false,
    };
    if alive > 0 || starting && !stop_overdue(state, now) {
        return None;
    }
    let ended = match &seen.runners {
        Fact::Known(runners) => u32::try_from(runners.len()).unwrap_or(u32::MAX),
        Fact::Absent | Fact::Unknown => 0,
    };
    Some(Event::RunnersStopped {
        forced: state.runners.saturating_sub(ended),
    })
}

/// True if runners that have not ended are to be deleted: their grace is over, or no stopper can tell them to end.
/// The event `RunnersStopped` follows when they are gone, so that no slow runner begins to run after it.
pub(in crate::machine) fn stop_is_forced(state: &Stopping, seen: &Observed, now: Timestamp) -> bool {
    // The Job of a stopper is never run again.
    matches!(seen.stopper, Fact::Known(Program::Failed(_)))
        || refusal_of(seen, Part::Stopper).is_some_and(PodRefusal::is_final)
        || stop_overdue(state, now)
}

fn stop_overdue(state: &Stopping, now: Timestamp) -> bool {
    state.at.checked_add(state.grace).is_ok_and(|end| now >= end)
}
