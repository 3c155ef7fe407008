//! Computes the status that users see from a run and from what is observed beside its events.

use super::LoadTest;
use super::conditions::{RETRYING, conditions};
use super::status::{RunnersStatus, Stage, Status, Summary};
use crate::machine::{
    Fact, MESSAGE_LIMIT, OUTCOME_LIMIT, Observed, PodRefusal, Record, Refusal, ReplayError, Run, RunResult,
    Runner, State, StateName, Stop, clipped, is_answered, length, waiting_for,
};
use std::fmt::Write;

/// The most bytes of status.argv as JSON.
const ARGV_LIMIT: usize = 16 * 1024;

/// Length of the quotes and the comma of a list entry in JSON, in bytes.
const QUOTES: usize = 3;

impl Run {
    fn stage(&self) -> Stage {
        match &self.state {
            State::Initializing(_) => Stage::Initialization,
            State::Created(_) | State::Starting(_) => Stage::Created,
            State::Started(_) => Stage::Started,
            State::Stopping(_) => Stage::Stopped,
            // grafana/k6-operator writes `finished` for all runs whose runners have ended, whatever their exit codes are
            // (internal/controller/k6_finish.go). Here a failed test is `error`, for tools that read only the stage.
            State::Finished(end) => match end.verdict.result {
                RunResult::Passed | RunResult::Aborted => Stage::Finished,
                RunResult::Failed | RunResult::Error => Stage::Error,
            },
        }
    }

    /// The status that follows from this run, its history and the live view.
    pub fn status(&self, history: Vec<Record>, progress: &Progress) -> Status {
        let total = match (&self.plan, &self.state) {
            (Some(plan), _) => Some(plan.parallelism),
            (None, State::Initializing(state)) => state.accepted().map(|accepted| accepted.terms.parallelism),
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
        let live = Status {
            state: Some(self.state.name()),
            stage: Some(self.stage()),
            observed_generation: progress.generation,
            attempt: Some(self.attempt),
            argv: progress.argv.clone(),
            plan: self.plan.clone(),
            failures: self.failures.clone(),
            more_failures: self.more_failures,
            summary: match (&self.outcome, &self.state) {
                (Some(outcome), _) => Some(Summary::of(outcome)),
                (None, State::Started(_) | State::Stopping(_)) => progress.summary.clone(),
                (
                    None,
                    State::Initializing(_) | State::Created(_) | State::Starting(_) | State::Finished(_),
                ) => None,
            },
            start_time: self.started,
            message: progress
                .waiting_for
                .as_ref()
                .map(|what| format!("Waiting for {what}")),
            runners: runners(
                progress.ready,
                progress.ended,
                progress.ready.saturating_add(progress.ended),
            ),
            history,
            ..Status::default()
        };
        let status = match &self.state {
            State::Finished(end) => Status {
                result: Some(end.verdict.result),
                reason: Some(end.verdict.reason),
                message: Some(end.verdict.message.clone()),
                runners: runners(0, progress.ended, end.completed),
                end_time: Some(end.at),
                duration: self.duration(),
                ..live
            },
            State::Stopping(stopping) => Status {
                reason: Some(stopping.why.reason),
                message: Some({
                    let what = match stopping.phase {
                        Stop::Ending(_) => "Stopping the runners",
                        Stop::Collecting { since: _ } => "Collecting the result",
                    };
                    let held = progress.retrying.as_ref().map(|held| format!("; {held}"));
                    format!("{what}: {}{}", stopping.why.message, held.unwrap_or_default())
                }),
                ..live
            },
            State::Initializing(_) | State::Created(_) | State::Starting(_) | State::Started(_) => live,
        };
        Status {
            conditions: conditions(self, progress, status.message.as_deref()),
            ..status
        }
    }
}

/// The live view: what the status shows beside the events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// metadata.generation; None if the spec asks for a later run than this one.
    pub generation: Option<i64>,
    /// The user's arguments of k6.
    pub argv: Vec<String>,
    /// Number of runners whose k6 answers.
    pub ready: u32,
    /// Number of runners that have ended.
    pub ended: u32,
    /// What the run waits for, as a clause.
    pub waiting_for: Option<String>,
    /// The last refusal of the API server, while the request is tried again.
    pub retrying: Option<String>,
    /// The merged metrics that were read last.
    pub summary: Option<Summary>,
}

impl Progress {
    /// The live view of a snapshot.
    pub fn of(run: &Run, seen: &Observed, argv: &[String]) -> Self {
        let state = &run.state;
        let count = |of: fn(&Runner) -> bool| match &seen.runners {
            Fact::Known(runners) => {
                u32::try_from(runners.values().filter(|runner| of(runner)).count()).unwrap_or(u32::MAX)
            }
            Fact::Absent | Fact::Unknown => 0,
        };
        // A released runner counts until it has ended: under load it may be slow to answer its probe.
        let ready = match state {
            State::Initializing(_) | State::Created(_) | State::Starting(_) => count(Runner::is_ready),
            State::Started(_) | State::Stopping(_) | State::Finished(_) => {
                count(|runner| runner.end.is_none())
            }
        };
        Self {
            generation: is_answered(run, seen).then_some(seen.generation),
            argv: shown(argv),
            ready,
            ended: count(|runner| runner.end.is_some()),
            waiting_for: waiting_for(state, seen).map(|what| clipped(&what, MESSAGE_LIMIT)),
            retrying: match (state, &seen.refused) {
                (State::Finished(_), _) | (_, Some(Refusal::Foreign(_) | Refusal::Invalid(_))) => None,
                (_, Some(Refusal::ForNow(message) | Refusal::Failed(message))) => {
                    Some(clipped(message, MESSAGE_LIMIT))
                }
                // The Job controller tries it again.
                (_, None) => seen.pod_refused.as_ref().map(PodRefusal::clause),
            },
            summary: seen
                .live
                .as_ref()
                .map(|live| Summary::of(&live.shortened(OUTCOME_LIMIT))),
        }
    }
}

/// Cuts the arguments to [`ARGV_LIMIT`]: the status is written again at each change.
fn shown(argv: &[String]) -> Vec<String> {
    let mut room = ARGV_LIMIT;
    let fits = |word: &&String| {
        let left = room.checked_sub(length(word) + QUOTES);
        room = left.unwrap_or_default();
        left.is_some()
    };
    let mut shown: Vec<String> = argv.iter().take_while(fits).cloned().collect();
    let more = argv.len().saturating_sub(shown.len());
    if more > 0 {
        shown.push(format!("... and {more} more"));
    }
    shown
}

impl Progress {
    /// Keeps what the status showed before and this snapshot can't show: the number of ended runners of a Finished run,
    /// whose Jobs may be deleted; the last summary; and the generation, while the spec asks for a later run.
    pub fn after(self, run: &Run, before: Option<&Status>) -> Self {
        let generation = before.and_then(|status| status.observed_generation);
        let of_this_run = before.filter(|status| status.attempt == Some(run.attempt));
        let ended = of_this_run
            .filter(|status| {
                matches!(run.state, State::Finished(_)) && status.state == Some(StateName::Finished)
            })
            .and_then(|status| status.runners.as_ref())
            .map(|runners| runners.ended);
        let summary = of_this_run.and_then(|status| status.summary.clone());
        Self {
            generation: self.generation.or(generation),
            ended: ended.unwrap_or(self.ended),
            summary: self.summary.or(summary),
            ..self
        }
    }
}

/// The output of `k6-operator replay`: the events of a resource with the states that they lead to.
///
/// # Errors
/// The history contains an event that its state refuses, or the status is not the one that follows from the history.
pub fn replay_report(resource: &str) -> Result<String, Box<dyn std::error::Error>> {
    let resource: LoadTest = serde_json::from_str(resource)?;
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
            "{:.3}  {:17} {:>12} -> {}",
            record.time,
            record.event.name(),
            before.as_str(),
            run.state.name().as_str()
        )?;
    }
    let progress = Progress {
        generation: status.observed_generation,
        argv: status.argv.clone(),
        ready: status.runners.as_ref().map_or(0, |runners| runners.ready),
        ended: status.runners.as_ref().map_or(0, |runners| runners.ended),
        waiting_for: status
            .message
            .as_deref()
            .and_then(|m| m.strip_prefix("Waiting for "))
            .map(str::to_owned),
        retrying: status
            .conditions
            .iter()
            .find(|condition| condition.type_ == RETRYING)
            .map(|condition| condition.message.clone()),
        summary: status.summary.clone(),
    };
    if run.status(status.history.clone(), &progress) != status {
        return Err("the status is not what its history says".into());
    }
    writeln!(text, "the status is what its history says")?;
    Ok(text)
}
