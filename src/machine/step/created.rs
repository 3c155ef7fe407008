//! What happens until the runners are ready.

use super::finish;
use crate::machine::event::{Event, Record, sentence};
use crate::machine::state::{Created, Reason, Started, Starting, State, Stopping, Verdict};
use crate::machine::verdict::error;
use jiff::Timestamp;
use statig::Outcome;

pub(super) fn handle(state: &Created, record: &Record) -> Outcome<State> {
    let Record { time, event } = record;
    let unpaused = state.accepted.terms.unpaused;
    match event {
        Event::StartOrdered { runners: _, pods } if !unpaused => {
            Outcome::Transition(State::Starting(Starting {
                at: *time,
                accepted: state.accepted.clone(),
                plan: state.plan.clone(),
                pods: pods.clone(),
            }))
        }
        Event::RunnersStarted { .. } if unpaused => Outcome::Transition(State::Started(Started {
            at: *time,
            plan: state.plan.clone(),
            lost: false,
            ended: None,
        })),
        Event::RunnerLost { failure } if !unpaused => {
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

/// Runners that do not wait for the start may run already, and are stopped.
fn without_aggregator(state: &Created, at: Timestamp, why: Verdict) -> Outcome<State> {
    if !state.accepted.terms.unpaused {
        return finish(at, why, 0);
    }
    Outcome::Transition(State::Stopping(Stopping {
        at,
        runners: state.plan.parallelism,
        grace_seconds: state.plan.stop_grace(),
        why,
        merged: false,
        stopped: None,
    }))
}
