//! The state machine: `(state, event) -> Step`, as a statig machine that is driven from outside.
//!
//! statig's [`State`](statig::blocking::State) and [`Superstate`](statig::blocking::Superstate) are
//! implemented by hand, so that the match over states and events stays exhaustive. The status of the
//! resource is the machine's memory: `StateExt::handle` returns the outcome and keeps nothing.
//!
//! Each state has a file with one handler for each of its phases. A handler names the events that it refuses last.

mod created;
mod finished;
mod initializing;
mod live;
mod started;
mod starting;
mod stopping;

use super::event::Record;
use super::state::{Finished, State, Verdict};
use jiff::Timestamp;
use live::Superstate;
use statig::Outcome;
use statig::blocking::{self, IntoStateMachine, StateExt};

/// What follows from an event.
#[expect(clippy::large_enum_variant, reason = "there is one of them at a time")]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The run is in this state now.
    Next(State),
    /// The event says nothing new.
    Unchanged,
    /// The event can't happen in this state; it must not be recorded.
    Refused,
}

/// Decides what follows from an event. Pure and total.
pub fn step(state: &State, record: &Record) -> Step {
    let mut state = state.clone();
    match state.handle(&mut Lifecycle, record, &mut ()) {
        Outcome::Transition(next) => Step::Next(next),
        Outcome::Handled => Step::Unchanged,
        Outcome::Super => Step::Refused,
    }
}

/// The machine; it has no memory of its own.
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

fn finish(at: Timestamp, verdict: Verdict, completed: u32) -> Outcome<State> {
    Outcome::Transition(State::Finished(Finished {
        at,
        verdict,
        completed,
    }))
}
