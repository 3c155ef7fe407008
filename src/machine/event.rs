//! The events in `status.history`. The size of each has a bound that does not depend on the number of runners, and a
//! run has at most [`HISTORY_LIMIT`] of them.

use super::state::{Plan, Reason, RunResult};
use super::terms::Terms;
use crate::protocol::is_default;
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

/// The most events that a run can have.
pub const HISTORY_LIMIT: usize = 32;

/// The most runners that an event names; the rest are counted.
pub const NAMED_AT_MOST: usize = 10;

/// The most former runs that keep a line in the history.
pub const FORMER_AT_MOST: usize = 8;

/// The longest message of an event, in bytes of JSON.
pub(crate) const MESSAGE_LIMIT: usize = 2048;

/// The longest outcome of a test, in bytes of JSON.
pub(crate) const OUTCOME_LIMIT: usize = 3072;

/// The longest message of one failed runner, in bytes of JSON.
pub(super) const LAST_WORDS_LIMIT: usize = 240;

/// The longest reason that Kubernetes gives for the end of a container, in bytes of JSON.
pub(super) const REASON_LIMIT: usize = 60;

/// An event and the time at which it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The time of the record, to the millisecond.
    pub time: Timestamp,
    /// The event, whose fields stand beside `time`.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that has happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoStaticStr)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
pub enum Event {
    /// The spec is valid. Until the runners are created, each edit of the spec leads to another such event.
    Accepted {
        /// metadata.generation of the spec.
        generation: i64,
        /// The text of spec.rerun that asked for this run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun: Option<String>,
        /// What the state machine needs of the spec.
        #[serde(flatten)]
        terms: Terms,
    },
    /// The spec is invalid.
    SpecRejected {
        /// The text of spec.rerun that asked for this run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun: Option<String>,
        /// Names the field and the remedy.
        message: String,
    },
    /// k6 inspected the script.
    ScriptInspected {
        /// Follows from k6's answer.
        plan: Plan,
    },
    /// The script is not inspected (`initializer.disabled`).
    InspectionSkipped {
        /// What is known without k6's answer.
        plan: Plan,
    },
    /// There is no script, or k6 refused it, or it doesn't fit the spec.
    ScriptRejected {
        /// Tells which of these it is.
        reason: Reason,
        /// k6's own message where it has one.
        message: String,
    },
    /// The name of an object is taken, or the API server refused an object for good.
    ObjectRefused {
        /// Tells which of these it is.
        reason: Reason,
        /// Names the object and the remedy.
        message: String,
    },
    /// All runners were ready, and exactly these pods are to be released.
    StartOrdered {
        /// Number of runners.
        runners: u32,
        /// SHA-256 over the runners' numbers and pod UIDs.
        pods: String,
    },
    /// The starter released every runner.
    StartConfirmed {
        /// Number of runners.
        runners: u32,
        /// Microseconds between the first and the last release.
        spread_micros: u64,
    },
    /// The starter did not release every runner.
    StartFailed {
        /// Number of runners that were released for certain; None if it is not known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        released: Option<u32>,
        /// True if the script aborted the test in setup().
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        aborted: bool,
        /// Names the runners that were not released, and why.
        message: String,
    },
    /// Every runner started by itself (`paused: false`).
    RunnersStarted {
        /// Number of runners.
        runners: u32,
    },
    /// The user set spec.stop.
    StopOrdered {},
    /// The user changed spec.rerun, which asks for a new run. Of the history of the former run only this line stays.
    RerunOrdered {
        /// Number of the new run of this resource, from 2.
        attempt: u32,
        /// The former run.
        former: Former,
    },
    /// A runner ended before the start, or was lost during the test while others went on.
    RunnerLost {
        /// The runner, and how it ended.
        failure: RunnerFailure,
    },
    /// The aggregator ended before the start.
    AggregatorLost {
        /// The reason, as a clause.
        message: String,
    },
    /// Every runner has ended.
    RunnersEnded {
        /// The number of runners by how they ended.
        tally: Tally,
    },
    /// The aggregator reported the result of the whole test.
    ResultCollected {
        /// The merged result.
        outcome: Outcome,
        /// The reason why the documents of the result are not kept; None if they are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unkept: Option<String>,
    },
    /// The result of the whole test can't be collected.
    CollectionFailed {
        /// The reason, as a clause.
        message: String,
    },
    /// The run waited longer than its state allows.
    DeadlinePassed {
        /// What it waited for, as a clause.
        waiting_for: String,
    },
    /// No runner runs any more after the order to stop.
    RunnersStopped {
        /// Number of runners that did not end by themselves, and were deleted.
        forced: u32,
    },
}

impl Event {
    /// The name of the event in the history.
    pub fn name(&self) -> &'static str {
        self.into()
    }
}

/// A former run of the same resource, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Former {
    /// The result of the run.
    pub result: RunResult,
    /// The reason of the result.
    pub reason: Reason,
    /// The time of its end.
    pub end_time: Timestamp,
    /// How long the test took, such as `1m30s`; None if it was not started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Its message, cut to [`LAST_WORDS_LIMIT`] bytes.
    pub message: String,
}

/// The number of runners by how they ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Runners with exit code 0.
    pub passed: u32,
    /// Runners with exit code 99: thresholds were crossed.
    pub crossed: u32,
    /// Runners with exit codes 103, 105 and 108: stopped through the API, by a signal, or by `exec.test.abort()`.
    pub aborted: u32,
    /// Runners with exit code 110: the script marked the test as failed, by `exec.test.fail()`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub marked: u32,
    /// All other runners.
    pub failed: u32,
    /// The runners that did not pass, at most [`NAMED_AT_MOST`]; those that decide the verdict come first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<RunnerFailure>,
}

impl Tally {
    /// Number of runners that did not pass and are not among `failures`.
    pub fn unnamed(&self) -> u32 {
        // Saturating: a history can be edited by hand, and no sum may overflow.
        let bad = self
            .crossed
            .saturating_add(self.aborted)
            .saturating_add(self.marked)
            .saturating_add(self.failed);
        bad.saturating_sub(u32::try_from(self.failures.len()).unwrap_or(u32::MAX))
    }
}

/// A runner that did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunnerFailure {
    /// Number of the runner, from 1.
    pub runner: u32,
    /// The exit code of k6; absent if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The reason of Kubernetes, such as OOMKilled or Evicted, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The end of the runner's log, or a sentence.
    pub message: String,
}

/// Capitalizes the first letter, which makes a clause a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Length of a character in JSON, in bytes.
fn in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    }
}

/// Length of a text in JSON without its quotes, in bytes.
pub(crate) fn length(text: &str) -> usize {
    text.chars().map(in_json).sum()
}

/// Cuts a text to at most `bytes` of JSON. An ellipsis marks the cut.
pub(crate) fn clipped(text: &str, bytes: usize) -> String {
    const ELLIPSIS: char = '…';
    if length(text) <= bytes {
        return text.to_owned();
    }
    let room = bytes.saturating_sub(ELLIPSIS.len_utf8());
    let mut used = 0;
    let kept = text.chars().take_while(|c| {
        used += in_json(*c);
        used <= room
    });
    kept.chain([ELLIPSIS]).collect()
}

impl RunnerFailure {
    /// The failure as a clause: `runner 3 (exit code 137, OOMKilled): ...`.
    pub fn clause(&self) -> String {
        let facts: Vec<String> = self
            .exit_code
            .map(|c| format!("exit code {c}"))
            .into_iter()
            .chain(self.reason.clone())
            .collect();
        let facts = if facts.is_empty() {
            String::new()
        } else {
            format!(" ({})", facts.join(", "))
        };
        format!("runner {}{facts}: {}", self.runner, self.message)
    }
}
