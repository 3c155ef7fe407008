//! The answers of Starting: the starter releases the runners.

use super::{Released, finish, stop};
use crate::machine::event::{Event, Record};
use crate::machine::state::{AfterStop, Reason, Started, Starting, State, Verdict};
use crate::machine::verdict::{aborted, error};
use jiff::Timestamp;
use statig::Outcome;

pub(super) fn handle(state: &Starting, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    match event {
        Event::StartConfirmed { .. } => {
            Outcome::Transition(State::Started(Started::new(*time, state.plan.clone())))
        }
        Event::StartFailed {
            released,
            aborted: by_script,
            message,
        } => {
            let why = if *by_script {
                aborted(message.clone())
            } else {
                error(Reason::StartFailed, message.clone())
            };
            not_started(state, *time, *released, why)
        }
        Event::StartOrdered { .. } => Outcome::Handled,
        Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RerunOrdered { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}

/// The end of a start that failed. Runners that may have been released are stopped first.
fn not_started(state: &Starting, at: Timestamp, released: Option<u32>, why: Verdict) -> Outcome<State> {
    match released {
        Some(0) => finish(at, why, 0),
        Some(_) | None => stop(at, Released::of(&state.plan), why, AfterStop::Finish),
    }
}
