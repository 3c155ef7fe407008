//! Folds a history into a run: what the status says follows from the history alone.

use super::StateName;
use super::event::{Event, FORMER_AT_MOST, Record, RunnerFailure};
use super::state::{Initializing, Plan, State};
use super::step::{Step, step};
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use std::time::Duration;
use thiserror::Error;

/// All that follows from a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The state after the last event.
    pub state: State,
    /// Number of this run among those of the resource, from 1.
    pub attempt: u32,
    /// The text of spec.rerun that asked for this run.
    pub rerun: Option<String>,
    /// The fields of the spec that this operator does not support, as a sentence.
    pub unsupported: Option<String>,
    /// The time of the first event of this run.
    pub began: Option<Timestamp>,
    /// The time at which its spec was accepted last.
    pub accepted: Option<Timestamp>,
    /// The time since which the run is suspended, or was until it ended.
    pub held: Option<Timestamp>,
    /// The plan; None until the script was inspected.
    pub plan: Option<Plan>,
    /// The time at which the start was confirmed.
    pub started: Option<Timestamp>,
    /// The time between the first and the last release of a runner.
    pub spread: Option<Duration>,
    /// The runners that did not pass, at most [`NAMED_AT_MOST`](super::NAMED_AT_MOST).
    pub failures: Vec<RunnerFailure>,
    /// Number of runners that did not pass and are not among `failures`.
    pub more_failures: u32,
    /// The merged result of all runners, once it was collected.
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
            spread: None,
            failures: Vec::new(),
            more_failures: 0,
            outcome: None,
        }
    }
}

/// The history contains an event that its state refuses: it was edited by hand, or is of another version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("event {index} of status.history, {event}, can't happen in state {}", state.as_str())]
pub struct ReplayError {
    /// Position of the event in the history, from 0.
    pub index: usize,
    /// Name of the event.
    pub event: &'static str,
    /// State that refused it.
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
    /// The run after one more event. None if the state refuses the event.
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
                run.spread = Some(Duration::from_micros(*spread_micros));
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

    /// Begins again with an edited spec and forgets the one before, as [`append`] does with its events.
    fn renewed(&mut self, now: Timestamp, rerun: &Option<String>) {
        *self = Self {
            state: self.state.clone(),
            attempt: self.attempt,
            began: if self.attempt == 1 { Some(now) } else { self.began },
            rerun: rerun.clone(),
            ..Self::default()
        };
    }

    /// True if the run is suspended before its runners are created.
    pub fn suspended(&self) -> bool {
        matches!(
            &self.state,
            State::Initializing(Initializing::Accepted(accepted)) if accepted.terms.suspended
        )
    }

    /// The time from the start to the end, such as `1m30s`. None before the end, and if the test was not started.
    pub fn duration(&self) -> Option<String> {
        let State::Finished(end) = &self.state else {
            return None;
        };
        let duration = end.at.duration_since(self.started?);
        Some(crate::k6::duration::duration_text(duration))
    }
}

/// Adds a record to a history and keeps the history short: an edit of the spec before the runners are created replaces
/// the events of the spec before, and of a former run only one line stays.
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
