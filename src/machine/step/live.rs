//! What all states but Finished have in common: a deadline, a refused object or a person can end them.

use super::{Lifecycle, finish};
use crate::machine::event::{Event, Record};
use crate::machine::state::{Reason, RunResult, Started, Starting, State, StateName, Stopping, Verdict};
use crate::machine::verdict::{deadline, error};
use statig::Outcome;
use statig::blocking;

/// What states have in common.
#[derive(Debug)]
pub(super) enum Superstate {
    /// All but Finished.
    Live {
        /// The state.
        state: StateName,
        /// How many runners may have been released, and how many seconds those have to end after a stop; None before
        /// the start.
        released: Option<(u32, u32)>,
        /// Whether a stop leaves a merged result.
        merged: bool,
    },
}

/// What this state has in common with the others; None if it is Finished.
pub(super) fn superstate(state: &State) -> Option<Superstate> {
    let released = match state {
        State::Initializing(_) => None,
        State::Created(state) => state
            .accepted
            .terms
            .unpaused
            .then_some((state.plan.parallelism, state.plan.stop_grace())),
        State::Starting(Starting { plan, .. }) | State::Started(Started { plan, .. }) => {
            Some((plan.parallelism, plan.stop_grace()))
        }
        State::Stopping(state) => Some((state.runners, state.grace_seconds)),
        State::Finished(_) => return None,
    };
    let merged = matches!(state, State::Started(state) if state.plan.aggregation.is_some());
    Some(Superstate::Live {
        state: state.name(),
        released,
        merged,
    })
}

impl blocking::Superstate<Lifecycle> for Superstate {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<State> {
        let Self::Live {
            state,
            released,
            merged,
        } = self;
        let why = match &record.event {
            Event::DeadlinePassed { waiting_for } => deadline(*state, waiting_for),
            Event::ObjectRefused { reason, message } => error(*reason, message.clone()),
            Event::StopOrdered {} => Verdict {
                result: RunResult::Aborted,
                reason: Reason::StopRequested,
                message: if released.is_some() {
                    "Stopped, as spec.stop asks".to_owned()
                } else {
                    "Stopped before the start, as spec.stop asks".to_owned()
                },
            },
            Event::Accepted { .. }
            | Event::SpecRejected { .. }
            | Event::ScriptInspected { .. }
            | Event::InspectionSkipped { .. }
            | Event::RunnersStarted { .. }
            | Event::RerunOrdered { .. }
            | Event::ScriptRejected { .. }
            | Event::StartOrdered { .. }
            | Event::StartConfirmed { .. }
            | Event::StartFailed { .. }
            | Event::RunnerLost { .. }
            | Event::AggregatorLost { .. }
            | Event::RunnersEnded { .. }
            | Event::ResultCollected { .. }
            | Event::CollectionFailed { .. }
            | Event::RunnersStopped { .. } => return Outcome::Super,
        };
        match *released {
            Some((runners, grace_seconds)) => Outcome::Transition(State::Stopping(Stopping {
                at: record.time,
                runners,
                grace_seconds,
                why,
                merged: *merged,
                stopped: None,
            })),
            None => finish(record.time, why, 0),
        }
    }
}
