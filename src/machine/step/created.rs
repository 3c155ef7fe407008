//! The answers of Created: the runners are created and not all ready yet.

use super::{Released, finish, stop};
use crate::machine::event::{Event, Record, sentence};
use crate::machine::state::{AfterStop, Created, Reason, Started, Starting, State, Verdict};
use crate::machine::terms::Start;
use crate::machine::verdict::error;
use jiff::Timestamp;
use statig::Outcome;

pub(super) fn handle(state: &Created, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    let start = state.accepted.terms.start;
    match event {
        Event::StartOrdered { runners: _, pods } if start == Start::Together => {
            Outcome::Transition(State::Starting(Starting {
                at: *time,
                accepted: state.accepted.clone(),
                plan: state.plan.clone(),
                pods: pods.clone(),
            }))
        }
        Event::RunnersStarted { .. } if start == Start::Immediate => {
            Outcome::Transition(State::Started(Started::new(*time, state.plan.clone())))
        }
        Event::RunnerLost { failure } if start == Start::Together => {
            let message = format!("before the start, {}", failure.clause());
            finish(*time, error(Reason::RunnerFailed, sentence(&message)), 0)
        }
        Event::AggregatorLost { message } if state.plan.aggregation.is_some() => {
            let message = format!(
                "Before the start, the aggregator ended: {message}; set spec.aggregation.enabled to false \
                 to run without it"
            );
            without_aggregator(state, *time, error(Reason::AggregationFailed, message))
        }
        Event::ScriptInspected { .. } | Event::InspectionSkipped { .. } => Outcome::Handled,
        Event::StartOrdered { .. }
        | Event::RunnersStarted { .. }
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::StartConfirmed { .. }
        | Event::StartFailed { .. }
        | Event::StopOrdered {}
        | Event::RerunOrdered { .. }
        | Event::RunnersEnded { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}

/// Runners that do not wait for the start may run already. They are stopped.
fn without_aggregator(state: &Created, at: Timestamp, why: Verdict) -> Outcome<State> {
    match state.accepted.terms.start {
        Start::Together => finish(at, why, 0),
        Start::Immediate => stop(at, Released::of(&state.plan), why, AfterStop::Finish),
    }
}
