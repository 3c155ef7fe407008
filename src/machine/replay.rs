//! Folds a history into a run.

use super::StateName;
use super::event::{Event, FORMER_AT_MOST, Record, RunnerFailure};
use super::state::{Accepted, Initializing, Plan, State};
use super::step::{Step, step};
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use thiserror::Error;

/// All that a history says.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Where the run is.
    pub state: State,
    /// Which run of this resource it is, from 1.
    pub attempt: u32,
    /// spec.rerun, which this run answers.
    pub rerun: Option<String>,
    /// What of the spec is not done here.
    pub unsupported: Option<String>,
    /// When the first event of this run was recorded.
    pub began: Option<Timestamp>,
    /// When its terms were accepted last.
    pub accepted: Option<Timestamp>,
    /// Since when it is held, or was until it ended.
    pub held: Option<Timestamp>,
    /// The plan, once the script was inspected.
    pub plan: Option<Plan>,
    /// When all runners had been released.
    pub started: Option<Timestamp>,
    /// Microseconds between the first and the last release.
    pub spread_micros: Option<u64>,
    /// The runners that did not end well, as far as they are named.
    pub failures: Vec<RunnerFailure>,
    /// How many more there are.
    pub more_failures: u32,
    /// What came of the whole test.
    pub outcome: Option<Outcome>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            state: State::default(),
            attempt: 1,
            rerun: None,
            unsupported: None,
            began: None,
            accepted: None,
            held: None,
            plan: None,
            started: None,
            spread_micros: None,
            failures: Vec::new(),
            more_failures: 0,
            outcome: None,
        }
    }
}

/// A history that no run can have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {index} of status.history, {event}, can't happen in state {}", state.as_str())]
pub struct ReplayError {
    /// Position in the history.
    pub index: usize,
    /// The event's name.
    pub event: &'static str,
    /// The state in which it was refused.
    pub state: StateName,
}

/// Replays a history from the beginning.
pub fn replay(history: &[Record]) -> Result<Run, ReplayError> {
    let mut run = Run::default();
    for (index, record) in history.iter().enumerate() {
        run = run.after(record).ok_or(ReplayError {
            index,
            event: record.event.name(),
            state: run.state.name(),
        })?;
    }
    Ok(run)
}

impl Run {
    /// The run after one more event; None if the event is refused.
    pub fn after(&self, record: &Record) -> Option<Self> {
        let state = match step(&self.state, record) {
            Step::Next(state) => state,
            Step::Unchanged => self.state.clone(),
            Step::Refused => return None,
        };
        let mut run = Self {
            state,
            began: self.began.or(Some(record.time)),
            ..self.clone()
        };
        match &record.event {
            Event::Accepted {
                generation: _,
                rerun,
                terms,
            } => {
                run.renewed(record.time, rerun);
                run.unsupported.clone_from(&terms.unsupported);
                run.accepted = Some(record.time);
                run.held = terms.suspended.then_some(record.time);
            }
            Event::SpecRejected { rerun, message: _ } => run.renewed(record.time, rerun),
            Event::ScriptInspected { plan } | Event::InspectionSkipped { plan } => {
                run.plan = Some(plan.clone());
            }
            Event::StartConfirmed { spread_micros, .. } => {
                run.started = Some(record.time);
                run.spread_micros = Some(*spread_micros);
            }
            Event::RunnersStarted { .. } => run.started = Some(record.time),
            Event::RunnerLost { failure } => run.failures = vec![failure.clone()],
            Event::RunnersEnded { tally } => {
                run.failures.clone_from(&tally.failures);
                run.more_failures = tally.unnamed();
            }
            Event::RerunOrdered { attempt, former: _ } => {
                run = Self {
                    attempt: *attempt,
                    began: Some(record.time),
                    ..Self::default()
                };
            }
            Event::ResultCollected { outcome, unkept: _ } => run.outcome = Some(outcome.clone()),
            Event::ScriptRejected { .. }
            | Event::ObjectRefused { .. }
            | Event::StartOrdered { .. }
            | Event::StartFailed { .. }
            | Event::StopOrdered {}
            | Event::AggregatorLost { .. }
            | Event::CollectionFailed { .. }
            | Event::DeadlinePassed { .. }
            | Event::RunnersStopped { .. } => {}
        }
        Some(run)
    }

    /// Begins again with an edited spec, as if the one before had not been: see [`append`].
    fn renewed(&mut self, now: Timestamp, rerun: &Option<String>) {
        *self = Self {
            state: self.state.clone(),
            attempt: self.attempt,
            began: if self.attempt == 1 { Some(now) } else { self.began },
            rerun: rerun.clone(),
            ..Self::default()
        };
    }

    /// Whether the run is held before its runners are made.
    pub fn suspended(&self) -> bool {
        matches!(
            &self.state,
            State::Initializing(Initializing {
                accepted: Some(Accepted { terms, .. })
            }) if terms.suspended
        )
    }

    /// From the start to the end, once both have been.
    pub fn duration(&self) -> Option<String> {
        let State::Finished(end) = &self.state else {
            return None;
        };
        let duration = end.at.duration_since(self.started?);
        Some(crate::k6::duration::duration_text(duration))
    }
}

/// Adds a record to a history, which stays as short as what it says: an edit before the runners are made
/// takes the place of the terms before it, and of a former run only one line is kept.
pub fn append(history: &mut Vec<Record>, record: Record) {
    let is_former = |record: &Record| matches!(record.event, Event::RerunOrdered { .. });
    match &record.event {
        Event::Accepted { .. } | Event::SpecRejected { .. } => {
            history.retain(is_former);
        }
        Event::RerunOrdered { .. } => {
            history.retain(is_former);
            let surplus = (history.len() + 1).saturating_sub(FORMER_AT_MOST);
            history.drain(..surplus);
        }
        Event::ScriptInspected { .. }
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
        | Event::RunnersStopped { .. } => {}
    }
    history.push(record);
}
