//! The state machine: `(state, event) -> Step`, as a statig machine that is driven from outside.
//!
//! statig's [`State`](statig::blocking::State) and [`Superstate`](statig::blocking::Superstate) are
//! implemented by hand, so that the match over states and events stays exhaustive. The status of the
//! resource is the machine's memory: `StateExt::handle` returns the outcome and keeps nothing.

use super::event::{Event, Record};
use super::state::{
    Accepted, Created, Finished, Initializing, Reason, RunResult, Started, Starting, State, StateName,
    Stopping, Verdict,
};
use super::{NAMED_AT_MOST, Tally};
use crate::build::check::PARALLELISM_LIMIT;
use jiff::Timestamp;
use statig::Outcome;
use statig::blocking::{self, IntoStateMachine, StateExt};

/// What follows from an event.
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

/// What states have in common.
#[derive(Debug)]
enum Superstate {
    /// All but Finished.
    Live {
        /// Which state.
        state: StateName,
        /// How many runners may have been released; None before the start.
        released: Option<u32>,
    },
}

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
        let Record { time, event } = record;
        match self {
            Self::Initializing(state) => match (event, &state.accepted) {
                // Said by no run: a history can be edited by hand, and runners are counted one by one.
                (Event::Accepted { terms, .. }, None | Some(_))
                    if !(1..=PARALLELISM_LIMIT).contains(&terms.parallelism) =>
                {
                    Outcome::Super
                }
                (Event::ScriptInspected { plan } | Event::InspectionSkipped { plan }, Some(accepted))
                    if plan.parallelism != accepted.terms.parallelism =>
                {
                    Outcome::Super
                }
                // Said again by the spec that was accepted already.
                (Event::Accepted { generation, .. }, Some(accepted))
                    if *generation == accepted.generation =>
                {
                    Outcome::Handled
                }
                (
                    Event::Accepted {
                        generation,
                        rerun: _,
                        terms,
                    },
                    None | Some(_),
                ) => Outcome::Transition(Self::Initializing(Initializing {
                    accepted: Some(Accepted {
                        at: *time,
                        generation: *generation,
                        terms: terms.clone(),
                    }),
                })),
                (Event::SpecRejected { rerun: _, message }, None | Some(_)) => {
                    finish(*time, error(Reason::InvalidSpec, message.clone()), 0)
                }
                (Event::ScriptInspected { plan } | Event::InspectionSkipped { plan }, Some(accepted)) => {
                    Outcome::Transition(Self::Created(Created {
                        at: *time,
                        accepted: accepted.clone(),
                        plan: plan.clone(),
                    }))
                }
                (Event::ScriptRejected { reason, message }, Some(_)) => {
                    finish(*time, error(*reason, message.clone()), 0)
                }
                // What is kept of the runs before this one.
                (Event::RerunOrdered { .. }, None) => Outcome::Transition(Self::default()),
                (
                    Event::ScriptInspected { .. }
                    | Event::InspectionSkipped { .. }
                    | Event::ScriptRejected { .. },
                    None,
                )
                | (Event::RerunOrdered { .. }, Some(_))
                | (
                    Event::ObjectRefused { .. }
                    | Event::StartOrdered { .. }
                    | Event::StartConfirmed { .. }
                    | Event::StartFailed { .. }
                    | Event::RunnersStarted { .. }
                    | Event::StopOrdered {}
                    | Event::RunnerLost { .. }
                    | Event::RunnersEnded { .. }
                    | Event::DeadlinePassed { .. }
                    | Event::RunnersStopped { .. },
                    None | Some(_),
                ) => Outcome::Super,
            },
            Self::Created(state) => match event {
                Event::StartOrdered { .. } | Event::RunnerLost { .. } if state.accepted.terms.unpaused => {
                    Outcome::Super
                }
                Event::RunnersStarted { .. } if !state.accepted.terms.unpaused => Outcome::Super,
                Event::StartOrdered { runners: _, pods } => Outcome::Transition(Self::Starting(Starting {
                    at: *time,
                    accepted: state.accepted.clone(),
                    plan: state.plan.clone(),
                    pods: pods.clone(),
                })),
                Event::RunnersStarted { .. } => Outcome::Transition(Self::Started(Started {
                    at: *time,
                    plan: state.plan.clone(),
                    lost: false,
                })),
                Event::RunnerLost { failure } => {
                    let message = format!("before the start, {}", failure.clause());
                    finish(*time, error(Reason::RunnerFailed, sentence(&message)), 0)
                }
                Event::ScriptInspected { .. } | Event::InspectionSkipped { .. } => Outcome::Handled,
                Event::Accepted { .. }
                | Event::SpecRejected { .. }
                | Event::ScriptRejected { .. }
                | Event::ObjectRefused { .. }
                | Event::StartConfirmed { .. }
                | Event::StartFailed { .. }
                | Event::StopOrdered {}
                | Event::RerunOrdered { .. }
                | Event::RunnersEnded { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
            Self::Starting(state) => match event {
                Event::StartConfirmed { .. } => Outcome::Transition(Self::Started(Started {
                    at: *time,
                    plan: state.plan.clone(),
                    lost: false,
                })),
                Event::StartFailed { released, message } => {
                    let why = error(Reason::StartFailed, message.clone());
                    match released {
                        Some(0) => finish(*time, why, 0),
                        Some(_) | None => Outcome::Transition(Self::Stopping(Stopping {
                            at: *time,
                            runners: state.plan.parallelism,
                            why,
                        })),
                    }
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
                | Event::RunnersEnded { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
            Self::Started(state) => match event {
                Event::RunnerLost { .. } if state.lost => Outcome::Handled,
                Event::RunnerLost { .. } => {
                    state.lost = true;
                    Outcome::Transition(self.clone())
                }
                Event::RunnersEnded { tally } => {
                    finish(*time, judge(tally), tally.passed.saturating_add(tally.crossed))
                }
                Event::StartConfirmed { .. } | Event::RunnersStarted { .. } => Outcome::Handled,
                Event::Accepted { .. }
                | Event::SpecRejected { .. }
                | Event::ScriptInspected { .. }
                | Event::InspectionSkipped { .. }
                | Event::StopOrdered {}
                | Event::RerunOrdered { .. }
                | Event::ScriptRejected { .. }
                | Event::ObjectRefused { .. }
                | Event::StartOrdered { .. }
                | Event::StartFailed { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
            Self::Stopping(state) => match event {
                Event::RunnersStopped { .. } => finish(*time, state.why.clone(), 0),
                Event::StartFailed { .. }
                | Event::DeadlinePassed { .. }
                | Event::ObjectRefused { .. }
                | Event::StopOrdered {} => Outcome::Handled,
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
                | Event::RunnersEnded { .. } => Outcome::Super,
            },
            Self::Finished(_) => match event {
                Event::RerunOrdered { .. } => Outcome::Transition(Self::default()),
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
                | Event::RunnersEnded { .. }
                | Event::DeadlinePassed { .. }
                | Event::RunnersStopped { .. } => Outcome::Super,
            },
        }
    }

    fn superstate(&mut self) -> Option<Superstate> {
        let released = match self {
            Self::Initializing(_) => None,
            Self::Created(state) => state.accepted.terms.unpaused.then_some(state.plan.parallelism),
            Self::Starting(state) => Some(state.plan.parallelism),
            Self::Started(state) => Some(state.plan.parallelism),
            Self::Stopping(state) => Some(state.runners),
            Self::Finished(_) => return None,
        };
        Some(Superstate::Live {
            state: self.name(),
            released,
        })
    }
}

impl blocking::Superstate<Lifecycle> for Superstate {
    fn call_handler(&mut self, _: &mut Lifecycle, record: &Record, (): &mut ()) -> Outcome<State> {
        let Self::Live { state, released } = self;
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
            | Event::RunnersEnded { .. }
            | Event::RunnersStopped { .. } => return Outcome::Super,
        };
        match *released {
            Some(runners) => Outcome::Transition(State::Stopping(Stopping {
                at: record.time,
                runners,
                why,
            })),
            None => finish(record.time, why, 0),
        }
    }
}

fn finish(at: Timestamp, verdict: Verdict, completed: u32) -> Outcome<State> {
    Outcome::Transition(State::Finished(Finished {
        at,
        verdict,
        completed,
    }))
}

fn error(reason: Reason, message: String) -> Verdict {
    Verdict {
        result: RunResult::Error,
        reason,
        message,
    }
}

fn deadline(state: StateName, waiting_for: &str) -> Verdict {
    let (reason, what) = match state {
        StateName::Initializing => (
            Reason::InitializationDeadlineExceeded,
            "The script was not inspected in time (spec.timeouts.initialization)",
        ),
        StateName::Created => (
            Reason::StartDeadlineExceeded,
            "The runners were not ready in time (spec.timeouts.start), and none was started",
        ),
        StateName::Starting => (
            Reason::StartDeadlineExceeded,
            "The runners were not released in time (spec.timeouts.start) and are stopped",
        ),
        StateName::Started | StateName::Stopping | StateName::Finished => (
            Reason::RunDeadlineExceeded,
            "The test did not end by itself in the time its script says",
        ),
    };
    error(reason, format!("{what}; waited for {waiting_for}"))
}

/// The verdict on a run whose runners have all ended.
///
/// Any crossed threshold makes it Failed, for that is what the test was asked; then any failure makes it an
/// Error, then any abort Aborted. Exit codes: <https://grafana.com/docs/k6/latest/using-k6/thresholds/> and
/// k6's `errext/exitcodes`.
fn judge(tally: &Tally) -> Verdict {
    let Tally {
        passed,
        crossed,
        aborted,
        failed,
        failures,
    } = tally;
    // A history can be edited by hand: no sum may overflow.
    let bad = crossed.saturating_add(*aborted).saturating_add(*failed);
    let total = passed.saturating_add(bad);
    let named: Vec<String> = failures.iter().map(super::RunnerFailure::clause).collect();
    let mut named = named.join("; ");
    let unnamed = tally.unnamed();
    if unnamed > 0 {
        named = format!("{named}; and {unnamed} more (at most {NAMED_AT_MOST} are named)");
    }
    let counted = |count: u32, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    let and_aborted = counted(*aborted, "aborted");
    let (result, reason, message) = if *crossed > 0 {
        let and_failed = counted(*failed, "failed");
        let text = format!(
            "Thresholds were crossed on {crossed} of {total} runners{and_failed}{and_aborted}: {named}"
        );
        (RunResult::Failed, Reason::ThresholdsCrossed, text)
    } else if *failed > 0 {
        let text = format!("{failed} of {total} runners failed{and_aborted}: {named}");
        (RunResult::Error, Reason::RunnerFailed, text)
    } else if *aborted > 0 {
        let text = format!("The test was aborted on {aborted} of {total} runners: {named}");
        (RunResult::Aborted, Reason::TestAborted, text)
    } else {
        let text = format!("{passed} of {total} runners passed");
        (RunResult::Passed, Reason::AllRunnersPassed, text)
    };
    Verdict {
        result,
        reason,
        message,
    }
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
