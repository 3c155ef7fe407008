//! The superstate of all states but Finished: a deadline, a refused object or the user can end the run in each of them.

use super::{Lifecycle, Released, finish, stop};
use crate::machine::event::{Event, Record};
use crate::machine::state::{AfterStop, Reason, RunResult, Started, Starting, State, StateName, Verdict};
use crate::machine::terms::Start;
use crate::machine::verdict::{deadline, error};
use statig::Outcome;
use statig::blocking;

/// The superstate of a state.
#[derive(Debug)]
pub(super) enum Superstate {
    /// Of all states but Finished.
    Live {
        state: StateName,
        /// None if no runner can have begun yet.
        released: Option<Released>,
        /// Tells whether a stop is followed by a merged result.
        then: AfterStop,
    },
}

/// The superstate of a state; None for Finished.
pub(super) fn superstate(state: &State) -> Option<Superstate> {
    let released = match state {
        State::Initializing(_) => None,
        State::Created(state) => match state.accepted.terms.start {
            Start::Together => None,
            Start::Immediate => Some(Released::of(&state.plan)),
        },
        State::Starting(Starting { plan, .. }) | State::Started(Started { plan, .. }) => {
            Some(Released::of(plan))
        }
        State::Stopping(state) => Some(Released {
            runners: state.runners,
            grace: state.grace,
        }),
        State::Finished(_) => return None,
    };
    let merged = matches!(state, State::Started(state) if state.plan.aggregation.is_some());
    Some(Superstate::Live {
        state: state.name(),
        released,
        then: if merged {
            AfterStop::Collect
        } else {
            AfterStop::Finish
        },
    })
}

impl blocking::Superstate<Lifecycle> for Superstate {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<State> {
        let Self::Live {
            state,
            released,
            then,
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
            Some(released) => stop(record.time, released, why, *then),
            None => finish(record.time, why, 0),
        }
    }
}
