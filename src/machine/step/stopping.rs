//! The answers of Stopping: the runners end, or their merged result is collected.

use super::finish;
use crate::machine::event::{Event, Record};
use crate::machine::judge::with_result;
use crate::machine::state::{AfterStop, State, Stop, Stopping};
use crate::machine::verdict::{too_long, without_result, without_summary};
use statig::Outcome;

pub(super) fn handle(state: &Stopping, record: &Record) -> Outcome<State> {
    match state.phase {
        Stop::Ending(then) => ending(state, then, record),
        Stop::Collecting { since: _ } => collecting(state, record),
    }
}

fn ending(state: &Stopping, then: AfterStop, Record { time, event }: &Record) -> Outcome<State> {
    match event {
        Event::RunnersStopped { .. } => match then {
            AfterStop::Collect => Outcome::Transition(State::Stopping(Stopping {
                phase: Stop::Collecting { since: *time },
                ..state.clone()
            })),
            AfterStop::Finish => finish(*time, state.why.clone(), 0),
        },
        Event::DeadlinePassed { .. }
        | Event::ObjectRefused { .. }
        | Event::StartFailed { .. }
        | Event::StopOrdered {} => Outcome::Handled,
        Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::RunnersStarted { .. }
        | Event::RerunOrdered { .. }
        | Event::ScriptRejected { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. } => Outcome::Super,
    }
}

fn collecting(state: &Stopping, Record { time, event }: &Record) -> Outcome<State> {
    match event {
        Event::ResultCollected { outcome, unkept } => {
            let verdict = with_result(&state.why, state.runners, outcome);
            finish(*time, without_summary(verdict, unkept.as_deref()), 0)
        }
        Event::CollectionFailed { message } | Event::ObjectRefused { reason: _, message } => {
            finish(*time, without_result(&state.why, message), 0)
        }
        Event::DeadlinePassed { waiting_for } => {
            finish(*time, without_result(&state.why, &too_long(waiting_for)), 0)
        }
        Event::RunnersStopped { .. } | Event::StartFailed { .. } | Event::StopOrdered {} => Outcome::Handled,
        Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::RunnersStarted { .. }
        | Event::RerunOrdered { .. }
        | Event::ScriptRejected { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. } => Outcome::Super,
    }
}
