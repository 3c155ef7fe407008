//! One look at a run, as far as it changes the history.

use super::event::{Event, Record};
use super::observed::Observed;
use super::replay::{Run, append};
use jiff::Timestamp;
use tracing::info_span;

/// One event that was recorded, with the run before and after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The run before it.
    pub before: Run,
    /// The event.
    pub record: Record,
    /// The run after it.
    pub after: Run,
}

impl Transition {
    /// Whether the run has come to another state, or to its next attempt.
    fn is_elsewhere(&self) -> bool {
        self.before.attempt != self.after.attempt || self.before.state.name() != self.after.state.name()
    }
}

/// What follows from one snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Advanced {
    /// The run after all that has happened.
    pub run: Run,
    /// Its history.
    pub history: Vec<Record>,
    /// What has happened, in order.
    pub transitions: Vec<Transition>,
    /// An event that its state refuses, which no snapshot should lead to.
    pub refused: Option<Event>,
}

impl Advanced {
    /// Whether more may have happened than this snapshot shows: it was taken for the state before, and what the new
    /// state needs, such as the result once all runners have ended, was not looked for.
    pub fn calls_for_another_look(&self) -> bool {
        let new_state = self.transitions.last().is_some_and(Transition::is_elsewhere);
        let all_ended = !self.transitions.is_empty() && self.run.state.awaits_result().is_some();
        new_state || all_ended
    }

    /// The run before this look.
    pub fn before(&self) -> &Run {
        self.transitions.first().map_or(&self.run, |first| &first.before)
    }
}

/// Records what has happened, up to the first new state: each state is written before the next one, for those who wait
/// for it, and what was observed of a run is not that of the next.
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
