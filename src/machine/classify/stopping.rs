//! Whether the runners have stopped, or are to be deleted.

use super::aggregator::collected;
use super::refusals::refusal_of;
use crate::machine::event::Event;
use crate::machine::observed::{Fact, Observed, Program};
use crate::machine::pod_refusal::{Part, PodRefusal};
use crate::machine::state::Stopping;
use jiff::{SignedDuration, Timestamp};

pub(super) fn stopping(state: &Stopping, seen: &Observed, now: Timestamp) -> Option<Event> {
    if state.stopped.is_some() {
        return collected(state.stopped, seen, now);
    }
    let alive = match &seen.runners {
        Fact::Known(runners) => runners.values().filter(|runner| runner.end.is_none()).count(),
        Fact::Absent => 0,
        Fact::Unknown => return None,
    };
    // What may still release a runner has to go first; without runners it is not waited for for ever.
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

/// Whether runners that have not ended by now are to be deleted: they had their time, or nobody tells them to.
/// The end is told once they are gone, so that none that was slow begins to run after it.
pub(in crate::machine) fn stop_is_forced(state: &Stopping, seen: &Observed, now: Timestamp) -> bool {
    // A stopper that could not do its work will not do it later.
    matches!(seen.stopper, Fact::Known(Program::Failed(_)))
        || refusal_of(seen, Part::Stopper).is_some_and(PodRefusal::is_final)
        || stop_overdue(state, now)
}

fn stop_overdue(state: &Stopping, now: Timestamp) -> bool {
    let grace = SignedDuration::from_secs(state.grace_seconds.into());
    state.at.checked_add(grace).is_ok_and(|end| now >= end)
}
