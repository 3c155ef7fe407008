//! Folds a history into a run, and a run into the status that users see.

use super::event::{Event, Record};
use super::observed::{Fact, Observed};
use super::state::{Plan, State};
use super::step::{Step, step};
use super::{StateName, waiting_for};
use crate::api::K6;
use crate::api::status::{K6Status, RunnersStatus};
use jiff::Timestamp;
use std::fmt::Write;
use thiserror::Error;

/// All that a history says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Where the run is.
    pub state: State,
    /// The generation that was accepted.
    pub generation: Option<i64>,
    /// The plan, once the script was inspected.
    pub plan: Option<Plan>,
    /// When the start was confirmed.
    pub started: Option<Timestamp>,
    /// Microseconds between the first and the last release.
    pub spread_micros: Option<u64>,
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
            ..self.clone()
        };
        match &record.event {
            Event::Accepted { generation, .. } => run.generation = Some(*generation),
            Event::ScriptInspected { plan } => run.plan = Some(plan.clone()),
            Event::StartConfirmed { spread_micros, .. } => {
                run.started = Some(record.time);
                run.spread_micros = Some(*spread_micros);
            }
            Event::SpecRejected { .. }
            | Event::ScriptRejected { .. }
            | Event::ObjectRefused { .. }
            | Event::StartOrdered { .. }
            | Event::StartFailed { .. }
            | Event::RunnerLost { .. }
            | Event::RunnersEnded { .. }
            | Event::DeadlinePassed { .. }
            | Event::RunnersStopped { .. } => {}
        }
        Some(run)
    }

    /// The status that users see: this run, its history, and the live view.
    pub fn status(&self, history: Vec<Record>, progress: &Progress) -> K6Status {
        let total = match (&self.plan, &self.state) {
            (Some(plan), _) => Some(plan.parallelism),
            (None, State::Initializing(state)) => state.accepted.as_ref().map(|a| a.parallelism),
            (None, _) => None,
        };
        let runners = |ready: u32, ended: u32, good: u32| {
            total.map(|total| RunnersStatus {
                ready,
                ended,
                total,
                summary: format!("{good}/{total}"),
            })
        };
        let live = K6Status {
            state: Some(self.state.name()),
            observed_generation: self.generation,
            plan: self.plan.clone(),
            start_time: self.started,
            message: progress
                .waiting_for
                .as_ref()
                .map(|what| format!("Waiting for {what}")),
            runners: runners(progress.ready, progress.ended, progress.ready + progress.ended),
            history,
            ..K6Status::default()
        };
        match &self.state {
            State::Finished(end) => K6Status {
                result: Some(end.verdict.result),
                reason: Some(end.verdict.reason),
                message: Some(end.verdict.message.clone()),
                runners: runners(0, progress.ended, end.completed),
                end_time: Some(end.at),
                duration: self
                    .started
                    .map(|started| crate::build::duration_text(end.at.duration_since(started))),
                ..live
            },
            State::Stopping(stopping) => K6Status {
                reason: Some(stopping.why.reason),
                message: Some(format!("Stopping the runners: {}", stopping.why.message)),
                ..live
            },
            State::Initializing(_) | State::Created(_) | State::Starting(_) | State::Started(_) => live,
        }
    }
}

/// The live view: what is seen of the runners and is not an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Runners whose k6 answers.
    pub ready: u32,
    /// Runners that have ended.
    pub ended: u32,
    /// What the run waits for, as a clause.
    pub waiting_for: Option<String>,
}

impl Progress {
    /// The live view of an observed world.
    pub fn of(state: &State, seen: &Observed) -> Self {
        let count = |of: fn(&super::Runner) -> bool| match &seen.runners {
            Fact::Known(runners) => {
                u32::try_from(runners.values().filter(|runner| of(runner)).count()).unwrap_or(u32::MAX)
            }
            Fact::Absent | Fact::Unknown => 0,
        };
        // A runner under load may be slow to answer its probe: once released, it counts until it has ended.
        let ready = match state {
            State::Initializing(_) | State::Created(_) | State::Starting(_) => count(super::Runner::is_ready),
            State::Started(_) | State::Stopping(_) | State::Finished(_) => {
                count(|runner| runner.end.is_none())
            }
        };
        Self {
            ready,
            ended: count(|runner| runner.end.is_some()),
            waiting_for: waiting_for(state, seen),
        }
    }
}

/// What `k6-operator replay` prints: the history of a resource, event by event, and whether the status that
/// was written is the one that follows from it.
pub fn replay_report(resource: &str) -> Result<String, Box<dyn std::error::Error>> {
    let resource: K6 = serde_json::from_str(resource)?;
    let status = resource.status.unwrap_or_default();
    let mut text = String::new();
    let mut run = Run::default();
    for (index, record) in status.history.iter().enumerate() {
        let before = run.state.name();
        run = run.after(record).ok_or(ReplayError {
            index,
            event: record.event.name(),
            state: before,
        })?;
        writeln!(
            text,
            "{}  {:16} {:>12} -> {}",
            record.time,
            record.event.name(),
            before.as_str(),
            run.state.name().as_str()
        )?;
    }
    let progress = Progress {
        ready: status.runners.as_ref().map_or(0, |runners| runners.ready),
        ended: status.runners.as_ref().map_or(0, |runners| runners.ended),
        waiting_for: status
            .message
            .as_deref()
            .and_then(|m| m.strip_prefix("Waiting for "))
            .map(str::to_owned),
    };
    if run.status(status.history.clone(), &progress) != status {
        return Err("the status is not what its history says".into());
    }
    writeln!(text, "the status is what its history says")?;
    Ok(text)
}
