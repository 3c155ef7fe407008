//! The status that users see, of a run and of what is observed beside its events.

use super::LoadTest;
use super::conditions::{RETRYING, conditions};
use super::status::{RunnersStatus, Stage, Status, Summary};
use crate::machine::{
    Fact, MESSAGE_LIMIT, OUTCOME_LIMIT, Observed, PodRefusal, Record, Refusal, ReplayError, Run, RunResult,
    Runner, State, StateName, clipped, is_answered, length, waiting_for,
};
use std::fmt::Write;

/// The most bytes of status.argv, as JSON.
const ARGV_LIMIT: usize = 16 * 1024;

/// The bytes of an entry of a list in JSON beside its text.
const QUOTES: usize = 3;

impl Run {
    fn stage(&self) -> Stage {
        match &self.state {
            State::Initializing(_) => Stage::Initialization,
            State::Created(_) | State::Starting(_) => Stage::Created,
            State::Started(_) => Stage::Started,
            State::Stopping(_) => Stage::Stopped,
            // grafana/k6-operator says `finished` of any run whose runners have all ended, whatever they exited with
            // (internal/controller/k6_finish.go). Who reads only the stage is not to take a failed test for a good one.
            State::Finished(end) => match end.verdict.result {
                RunResult::Passed | RunResult::Aborted => Stage::Finished,
                RunResult::Failed | RunResult::Error => Stage::Error,
            },
        }
    }

    /// The status that users see: this run, its history, and the live view.
    pub fn status(&self, history: Vec<Record>, progress: &Progress) -> Status {
        let total = match (&self.plan, &self.state) {
            (Some(plan), _) => Some(plan.parallelism),
            (None, State::Initializing(state)) => state.accepted.as_ref().map(|a| a.terms.parallelism),
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
                    let what = match stopping.stopped {
                        None => "Stopping the runners",
                        Some(_) => "Collecting the result",
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

/// The live view: what is seen of the runners and is not an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// metadata.generation, if this is the run that the spec of that generation asks for.
    pub generation: Option<i64>,
    /// The user's arguments of k6.
    pub argv: Vec<String>,
    /// Runners whose k6 answers.
    pub ready: u32,
    /// Runners that have ended.
    pub ended: u32,
    /// What the run waits for, as a clause.
    pub waiting_for: Option<String>,
    /// What the API server last said no to, while that is tried again.
    pub retrying: Option<String>,
    /// The merged metrics, as they were seen last.
    pub summary: Option<Summary>,
}

impl Progress {
    /// The live view of an observed world.
    pub fn of(run: &Run, seen: &Observed, argv: &[String]) -> Self {
        let state = &run.state;
        let count = |of: fn(&Runner) -> bool| match &seen.runners {
            Fact::Known(runners) => {
                u32::try_from(runners.values().filter(|runner| of(runner)).count()).unwrap_or(u32::MAX)
            }
            Fact::Absent | Fact::Unknown => 0,
        };
        // A runner under load may be slow to answer its probe: once released, it counts until it has ended.
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

/// As many of the arguments as a status has room for: it is written again at each change.
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
    /// What was told of the runners of a run that is Finished stays: its Jobs may go. And as long as another run is
    /// asked for, the status stays that of the generation before.
    pub fn after(self, run: &Run, told: Option<&Status>) -> Self {
        let finished = |told: &&Status| {
            matches!(run.state, State::Finished(_))
                && told.state == Some(StateName::Finished)
                && told.attempt == Some(run.attempt)
        };
        let before = told.and_then(|told| told.observed_generation);
        let ended = told
            .filter(finished)
            .and_then(|told| told.runners.as_ref())
            .map(|runners| runners.ended);
        // What could not be read this time, was read before.
        let told = told.filter(|told| told.attempt == Some(run.attempt));
        let summary = self
            .summary
            .or_else(|| told.and_then(|told| told.summary.clone()));
        Self {
            generation: self.generation.or(before),
            ended: ended.unwrap_or(self.ended),
            summary,
            ..self
        }
    }
}

/// What `k6-operator replay` prints: the history of a resource, event by event, and whether the status that
/// was written is the one that follows from it.
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
