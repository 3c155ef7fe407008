//! Decides what follows from an event: `(state, event) -> Step`, a statig machine that is driven from outside.
//!
//! statig's [`State`](statig::blocking::State) and [`Superstate`](statig::blocking::Superstate) are implemented by hand,
//! so that the match over states and events is exhaustive. The machine has no memory but the status of the resource:
//! `StateExt::handle` returns the outcome and keeps nothing.
//!
//! Each state has a file with one handler for each of its phases. A handler lists the events that it refuses last.

mod created;
mod finished;
mod initializing;
mod live;
mod started;
mod starting;
mod stopping;

use super::event::Record;
use super::state::{AfterStop, Finished, Plan, State, Stop, Stopping, Verdict};
use jiff::{SignedDuration, Timestamp};
use live::Superstate;
use statig::Outcome;
use statig::blocking::{self, IntoStateMachine, StateExt};

/// The answer of a state to an event.
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The run is in this state now, which may be the same state with other data.
    Next(State),
    /// The event says nothing new.
    Unchanged,
    /// The event can't happen in this state; it must not be recorded.
    Refused,
}

/// The answer of a state to an event. Pure, and defined for each state and each event.
pub fn step(state: &State, record: &Record) -> Step {
    let mut state = state.clone();
    match state.handle(&mut Lifecycle, record, &mut ()) {
        Outcome::Transition(next) => Step::Next(next),
        Outcome::Handled => Step::Unchanged,
        Outcome::Super => Step::Refused,
    }
}

/// The machine, which has no data of its own.
#[derive(Debug)]
struct Lifecycle;

impl IntoStateMachine for Lifecycle {
    type Event<'evt> = Record;
    type Context<'ctx> = ();
    type Superstate<'sub> = Superstate;
    type State = State;

    fn initial() -> State {
        State::default()
    }
}

impl blocking::State<Lifecycle> for State {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<Self> {
        match self {
            Self::Initializing(state) => initializing::handle(state, record),
            Self::Created(state) => created::handle(state, record),
            Self::Starting(state) => starting::handle(state, record),
            Self::Started(state) => started::handle(state, record),
            Self::Stopping(state) => stopping::handle(state, record),
            Self::Finished(state) => finished::handle(state, record),
        }
    }

    fn superstate(&mut self) -> Option<Superstate> {
        live::superstate(self)
    }
}

/// Runners that may run load, and have to be stopped before the run can end.
#[derive(Clone, Copy, Debug)]
struct Released {
    runners: u32,
    grace: SignedDuration,
}

impl Released {
    fn of(plan: &Plan) -> Self {
        Self {
            runners: plan.parallelism,
            grace: plan.stop_grace(),
        }
    }
}

fn stop(at: Timestamp, released: Released, why: Verdict, then: AfterStop) -> Outcome<State> {
    let Released { runners, grace } = released;
    Outcome::Transition(State::Stopping(Stopping {
        at,
        runners,
        grace,
        why,
        phase: Stop::Ending(then),
    }))
}

fn finish(at: Timestamp, verdict: Verdict, completed: u32) -> Outcome<State> {
    Outcome::Transition(State::Finished(Finished {
        at,
        verdict,
        completed,
    }))
}
