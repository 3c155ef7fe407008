//! What happens after the order to stop.

use super::finish;
use crate::machine::event::{Event, Record};
use crate::machine::judge::with_result;
use crate::machine::state::{State, Stopping};
use crate::machine::verdict::{too_long, without_result, without_summary};
use statig::Outcome;

pub(super) fn handle(state: &Stopping, record: &Record) -> Outcome<State> {
    match state.stopped {
        None => ending(state, record),
        Some(_) => collecting(state, record),
    }
}

fn ending(state: &Stopping, Record { time, event }: &Record) -> Outcome<State> {
    match event {
        Event::RunnersStopped { .. } if state.merged => Outcome::Transition(State::Stopping(Stopping {
            stopped: Some(*time),
            ..state.clone()
        })),
        Event::RunnersStopped { .. } => finish(*time, state.why.clone(), 0),
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
