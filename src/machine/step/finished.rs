//! The answers of Finished: only the next run of the resource follows.

use crate::machine::event::{Event, Record};
use crate::machine::state::{Finished, State};
use statig::Outcome;

pub(super) fn handle(_: &Finished, record: &Record) -> Outcome<State> {
    match &record.event {
        Event::RerunOrdered { .. } => Outcome::Transition(State::default()),
        Event::Accepted { .. }
        | Event::SpecRejected { .. }
        | Event::ScriptInspected { .. }
        | Event::InspectionSkipped { .. }
        | Event::ScriptRejected { .. }
        | Event::ObjectRefused { .. }
        | Event::StartOrdered { .. }
        | Event::StartConfirmed { .. }
        | Event::StartFailed { .. }
        | Event::RunnersStarted { .. }
        | Event::StopOrdered {}
        | Event::RunnerLost { .. }
        | Event::AggregatorLost { .. }
        | Event::RunnersEnded { .. }
        | Event::ResultCollected { .. }
        | Event::CollectionFailed { .. }
        | Event::DeadlinePassed { .. }
        | Event::RunnersStopped { .. } => Outcome::Super,
    }
}
