//! The part of one look at a run that changes its history.

use super::event::{Event, Record};
use super::observed::Observed;
use super::replay::{Run, append};
use jiff::Timestamp;
use tracing::info_span;

/// A recorded event, with the run before and after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The run before the event.
    pub before: Run,
    /// The event and its time.
    pub record: Record,
    /// The run after the event.
    pub after: Run,
}

impl Transition {
    /// True if the event led to another state, or to the next attempt.
    fn is_elsewhere(&self) -> bool {
        self.before.attempt != self.after.attempt || self.before.state.name() != self.after.state.name()
    }
}

/// The result of [`advance`].
#[derive(Clone, Debug, PartialEq)]
pub struct Advanced {
    /// The run after all recorded events.
    pub run: Run,
    /// The history with these events.
    pub history: Vec<Record>,
    /// The events that were recorded in this look, in order.
    pub transitions: Vec<Transition>,
    /// An event that the state refuses. No snapshot should lead to one: it is a bug, and it is not recorded.
    pub refused: Option<Event>,
}

impl Advanced {
    /// True if a new snapshot is needed at once. This one was taken for the state before and lacks what the new state
    /// needs, such as the merged result once all runners have ended.
    pub fn calls_for_another_look(&self) -> bool {
        let new_state = self.transitions.last().is_some_and(Transition::is_elsewhere);
        let all_ended = !self.transitions.is_empty() && self.run.state.awaits_result().is_some();
        new_state || all_ended
    }

    /// The run before the first recorded event.
    pub fn before(&self) -> &Run {
        self.transitions.first().map_or(&self.run, |first| &first.before)
    }
}

/// Records events until the run is in a new state or nothing more has happened.
///
/// It stops at a new state for two reasons. Each state is written to the status, where tools wait for it; and the
/// snapshot was taken for the state before.
pub fn advance(run: Run, history: Vec<Record>, seen: &Observed, now: Timestamp) -> Advanced {
    let mut advanced = Advanced {
        run,
        history,
        transitions: Vec::new(),
        refused: None,
    };
    while let Some(event) = info_span!("classify").in_scope(|| advanced.run.next(seen, now)) {
        let record = Record { time: now, event };
        let Some(after) = info_span!("step").in_scope(|| advanced.run.after(&record)) else {
            advanced.refused = Some(record.event);
            break;
        };
        if after == advanced.run {
            break;
        }
        append(&mut advanced.history, record.clone());
        let transition = Transition {
            before: std::mem::replace(&mut advanced.run, after.clone()),
            record,
            after,
        };
        let elsewhere = transition.is_elsewhere();
        advanced.transitions.push(transition);
        if elsewhere {
            break;
        }
    }
    advanced
}
