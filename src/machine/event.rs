//! Facts in the past tense: what `status.history` is made of. Each is bounded in size whatever the
//! parallelism, and a run has at most [`HISTORY_LIMIT`] of them.

use super::state::{Plan, Reason, RunResult, Terms};
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most events that a run can have.
pub const HISTORY_LIMIT: usize = 32;

/// At most this many runners are named in an event; the rest are counted.
pub const NAMED_AT_MOST: usize = 10;

/// At most this many former runs keep their line in the history.
pub const FORMER_AT_MOST: usize = 8;

/// The longest message of an event, in bytes of JSON.
pub(crate) const MESSAGE_LIMIT: usize = 2048;

/// The longest outcome of a test, in bytes of JSON.
pub(crate) const OUTCOME_LIMIT: usize = 3072;

/// The longest last words of one of the runners that are named, and the longest of Kubernetes' reasons.
pub(super) const LAST_WORDS_LIMIT: usize = 240;
pub(super) const REASON_LIMIT: usize = 60;

/// An event and when it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The time of the record, to the millisecond.
    pub time: Timestamp,
    /// What has happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that has happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
pub enum Event {
    /// The spec can be carried out, on these terms. Until the runners are made, an edit of the spec is another.
    Accepted {
        /// metadata.generation of the spec.
        generation: i64,
        /// spec.rerun, which this run answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun: Option<String>,
        /// The terms.
        #[serde(flatten)]
        terms: Terms,
    },
    /// The spec can't be carried out.
    SpecRejected {
        /// spec.rerun, which this run answers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rerun: Option<String>,
        /// The field and the remedy.
        message: String,
    },
    /// k6 read the script and said what it needs.
    ScriptInspected {
        /// What it needs.
        plan: Plan,
    },
    /// The spec asks that k6 is not asked what the script needs.
    InspectionSkipped {
        /// What is known without it.
        plan: Plan,
    },
    /// There is no script, or k6 refused it, or it doesn't fit the spec.
    ScriptRejected {
        /// Which of these.
        reason: Reason,
        /// k6's own message where it has one.
        message: String,
    },
    /// A person's object is in the way, or the API server refused an object for good.
    ObjectRefused {
        /// Which of these.
        reason: Reason,
        /// Which object, and the remedy.
        message: String,
    },
    /// All runners were ready: the order to start exactly these pods.
    StartOrdered {
        /// How many.
        runners: u32,
        /// SHA-256 over the runners' numbers and pod UIDs.
        pods: String,
    },
    /// The starter released every runner.
    StartConfirmed {
        /// How many.
        runners: u32,
        /// Microseconds between the first and the last release.
        spread_micros: u64,
    },
    /// The starter did not release every runner.
    StartFailed {
        /// How many it had released for sure; absent if it can't be known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        released: Option<u32>,
        /// The script aborted the test in setup().
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        aborted: bool,
        /// Which runners, and why.
        message: String,
    },
    /// Every runner started by itself, as `paused: false` asks.
    RunnersStarted {
        /// How many.
        runners: u32,
    },
    /// A person set spec.stop.
    StopOrdered {},
    /// A person asked for a new run by another spec.rerun. The history of the former run ends here, but for
    /// this line.
    RerunOrdered {
        /// Which run of this resource it will be.
        attempt: u32,
        /// The run before it.
        former: Former,
    },
    /// A runner ended before the start, or was lost during the test while others went on.
    RunnerLost {
        /// Which, and why.
        failure: RunnerFailure,
    },
    /// Before the start, what was to merge the metrics of the runners ended.
    AggregatorLost {
        /// Why it ended, in a sentence.
        message: String,
    },
    /// Every runner has ended.
    RunnersEnded {
        /// How many ended in which way.
        tally: Tally,
    },
    /// What came of the whole test is known.
    ResultCollected {
        /// The result of the whole test.
        outcome: Outcome,
        /// Why its documents are not kept, if they are not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unkept: Option<String>,
    },
    /// What came of the whole test can't be known.
    CollectionFailed {
        /// The reason, for people.
        message: String,
    },
    /// A wait was longer than its deadline.
    DeadlinePassed {
        /// What was waited for.
        waiting_for: String,
    },
    /// After the order to stop: no runner is left that runs.
    RunnersStopped {
        /// Runners that had not ended by themselves, and were deleted.
        forced: u32,
    },
}

impl Event {
    /// The name, as it stands in the history.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "Accepted",
            Self::SpecRejected { .. } => "SpecRejected",
            Self::ScriptInspected { .. } => "ScriptInspected",
            Self::InspectionSkipped { .. } => "InspectionSkipped",
            Self::ScriptRejected { .. } => "ScriptRejected",
            Self::ObjectRefused { .. } => "ObjectRefused",
            Self::StartOrdered { .. } => "StartOrdered",
            Self::StartConfirmed { .. } => "StartConfirmed",
            Self::StartFailed { .. } => "StartFailed",
            Self::RunnersStarted { .. } => "RunnersStarted",
            Self::StopOrdered {} => "StopOrdered",
            Self::RerunOrdered { .. } => "RerunOrdered",
            Self::RunnerLost { .. } => "RunnerLost",
            Self::AggregatorLost { .. } => "AggregatorLost",
            Self::RunnersEnded { .. } => "RunnersEnded",
            Self::ResultCollected { .. } => "ResultCollected",
            Self::CollectionFailed { .. } => "CollectionFailed",
            Self::DeadlinePassed { .. } => "DeadlinePassed",
            Self::RunnersStopped { .. } => "RunnersStopped",
        }
    }
}

/// A run that has been, in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Former {
    /// Its result.
    pub result: RunResult,
    /// Its reason.
    pub reason: Reason,
    /// When it was Finished.
    pub end_time: Timestamp,
    /// How long the test took, if it was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Its message, cut short.
    pub message: String,
}

/// How the runners of a run ended, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Exit code 0.
    pub passed: u32,
    /// Exit code 99: thresholds crossed.
    pub crossed: u32,
    /// Exit codes 103, 105 and 108: stopped through the API, by a signal, or by `test.abort()`.
    pub aborted: u32,
    /// Exit code 110: the script marked the test as failed, by `exec.test.fail()`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub marked: u32,
    /// Everything else.
    pub failed: u32,
    /// What those that did not pass said, those that decide the verdict first, at most [`NAMED_AT_MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<RunnerFailure>,
}

impl Tally {
    /// How many of those that did not pass are not named.
    pub fn unnamed(&self) -> u32 {
        // A history can be edited by hand: no sum may overflow.
        let bad = self
            .crossed
            .saturating_add(self.aborted)
            .saturating_add(self.marked)
            .saturating_add(self.failed);
        bad.saturating_sub(u32::try_from(self.failures.len()).unwrap_or(u32::MAX))
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One runner that did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunnerFailure {
    /// Its number, 1 to N.
    pub runner: u32,
    /// k6's exit code, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Kubernetes' reason where it has one to tell, such as OOMKilled or Evicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last words of its log, or a sentence.
    pub message: String,
}

/// The text with its first letter as that of a sentence.
pub(super) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// How many bytes a character takes in JSON.
fn in_json(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        c if c.is_ascii_control() => 6,
        c => c.len_utf8(),
    }
}

/// How many bytes a text takes in JSON, without its quotes.
pub(crate) fn length(text: &str) -> usize {
    text.chars().map(in_json).sum()
}

/// The text, cut so that it takes at most `bytes` in JSON; a cut is marked by an ellipsis.
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
