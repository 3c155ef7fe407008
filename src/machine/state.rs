//! The states of a run, and the data that each needs for its next decision.

use super::event::Tally;
use crate::k6::Version;
pub use crate::protocol::verdict::{Reason, RunResult};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// The spec is checked, and k6 itself archives and inspects the script, in the Job `<name>-initializer`.
    Initializing(Initializing),
    /// The Jobs `<name>-aggregator` and `<name>-1` to `<name>-N` are created. Each k6 waits, paused, until all are
    /// ready.
    Created(Created),
    /// The order to start exactly these pods is recorded. The Job `<name>-starter` runs setup() and releases them.
    Starting(Starting),
    /// All runners were released. When all have ended, the merged result is read and its summary kept.
    Started(Started),
    /// The order to stop is recorded. The runners that were released are stopped, and their result is collected.
    Stopping(Stopping),
    /// The run has ended, with a result.
    Finished(Finished),
}

/// A state without its data, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs)]
pub enum StateName {
    Initializing,
    Created,
    Starting,
    Started,
    Stopping,
    Finished,
}

impl StateName {
    /// All states, in the order of a run.
    pub const ALL: [Self; 6] = [
        Self::Initializing,
        Self::Created,
        Self::Starting,
        Self::Started,
        Self::Stopping,
        Self::Finished,
    ];

    /// As users see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "Initializing",
            Self::Created => "Created",
            Self::Starting => "Starting",
            Self::Started => "Started",
            Self::Stopping => "Stopping",
            Self::Finished => "Finished",
        }
    }
}

/// Data of [`State::Initializing`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Initializing {
    /// None until the spec has been accepted.
    pub accepted: Option<Accepted>,
}

/// The terms on which a run was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The time at which the spec was accepted.
    pub at: Timestamp,
    /// The generation of the spec that they are of.
    pub generation: i64,
    /// The terms.
    pub terms: Terms,
}

/// What the state machine needs of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Number of runners.
    pub parallelism: u32,
    /// How long initialization may take.
    pub initialization_timeout_seconds: u32,
    /// How long the runners may take to be ready, and the starter to release them.
    pub start_timeout_seconds: u32,
    /// How long the test may take; absent if the script says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_timeout_seconds: Option<u32>,
    /// Held before its runners are made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// The runners are not held until all are ready (`paused: false`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpaused: bool,
    /// k6 is not asked what the script needs (`initializer.disabled`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uninspected: bool,
    /// What of the spec is not done here, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// What the script reads in the initializer and not in the runners, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlike_runners: Option<String>,
    /// Why the metrics of the runners are not to be merged, as a sentence; absent if they are, where k6 can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unaggregated: Option<String>,
    /// Each runner runs setup() and teardown(), or none does (`setup: perRunner`, `--no-setup`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub setup_per_runner: bool,
    /// The script's thresholds do not count (`--no-thresholds`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unjudged: bool,
    /// The most requests per second of all runners together, as the arguments or the environment of k6 say it, which
    /// come before what the script says; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<u64>,
}

/// What k6 says the script needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Number of runners.
    pub parallelism: u32,
    /// Most virtual users at any time, over all runners; this and the next two are absent if k6 was not asked.
    #[serde(rename = "maxVUs", default, skip_serializing_if = "Option::is_none")]
    pub max_vus: Option<u64>,
    /// The longest that the scenarios can take, graceful stops included, as k6 prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_duration: Option<String>,
    /// Number of threshold expressions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<u32>,
    /// Seconds after the start at which a run that has not ended is stopped; absent if it has no end of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u32>,
    /// Seconds that runners have to end when they are told to stop, teardown() included; absent if they are 60.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_seconds: Option<u32>,
    /// The tags that the script's options give to all samples: k6 forgets them where `--tag` is among its arguments, as
    /// the operator's are, unless they are there too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The most requests per second of all runners together, of which each is given its share; absent if there is no
    /// limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<u64>,
    /// What the user should know, such as an uneven share of virtual users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// How the metrics of the runners are merged; absent if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<Aggregation>,
    /// Why the metrics of the runners are not merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_aggregated: Option<String>,
}

impl Plan {
    /// How many seconds runners have to end after the order to stop; then their Jobs are deleted.
    pub fn stop_grace(&self) -> u32 {
        self.stop_seconds.unwrap_or(STOP_GRACE_SECONDS)
    }
}

/// How the metrics of the runners are merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aggregation {
    /// What this k6 calls its OpenTelemetry output.
    pub output: String,
    /// The version of this k6, such as `1.1.0`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub k6_version: String,
    /// Seconds that setup() may take, which runs once for the whole test; absent if each runner runs its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup_seconds: Option<u32>,
    /// Seconds that teardown() may take, which runs once for the whole test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teardown_seconds: Option<u32>,
    /// The system tags of the runners: k6's default without `url` and `name`, where no threshold needs them, so that
    /// requests of many URLs have few series. A request's own `name` tag stays. Absent where k6 decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_tags: Option<String>,
    /// The script's own metrics that it names under `thresholds`: the k6 of each runner says of what type they are, even
    /// of one that has no samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub script_metrics: Vec<String>,
}

impl Aggregation {
    /// The version of k6; 1.1 in a plan that was recorded without one.
    pub fn version(&self) -> Version {
        self.k6_version.parse().unwrap_or(Version::new(1, 1, 0))
    }
}

/// How many seconds runners have to end after the order to stop, where teardown() needs no more.
pub const STOP_GRACE_SECONDS: u32 = 60;

/// Data of [`State::Created`].
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// Since when.
    pub at: Timestamp,
    /// The terms.
    pub accepted: Accepted,
    /// The plan.
    pub plan: Plan,
}

/// Data of [`State::Starting`].
#[derive(Clone, Debug, PartialEq)]
pub struct Starting {
    /// When the order was recorded.
    pub at: Timestamp,
    /// The terms.
    pub accepted: Accepted,
    /// The plan.
    pub plan: Plan,
    /// Digest of the pods that the order names.
    pub pods: String,
}

/// Data of [`State::Started`].
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// When the start was confirmed.
    pub at: Timestamp,
    /// The plan.
    pub plan: Plan,
    /// Whether the loss of a runner has been told.
    pub lost: bool,
    /// Once all runners have ended, and their merged result is awaited.
    pub ended: Option<Ended>,
}

/// The end of all runners, before the result of the whole is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The time at which the last runner was seen to have ended.
    pub at: Timestamp,
    /// The number of runners by how they ended.
    pub tally: Tally,
}

/// Data of [`State::Stopping`].
#[derive(Clone, Debug, PartialEq)]
pub struct Stopping {
    /// Since when.
    pub at: Timestamp,
    /// How many runners the run has.
    pub runners: u32,
    /// How many seconds they have to end.
    pub grace_seconds: u32,
    /// What the verdict will be.
    pub why: Verdict,
    /// There is a merged result of what was measured until the stop.
    pub merged: bool,
    /// Once the runners have stopped, and their merged result is awaited.
    pub stopped: Option<Timestamp>,
}

/// Data of [`State::Finished`].
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The time of the end.
    pub at: Timestamp,
    /// The result, its reason and the message.
    pub verdict: Verdict,
    /// Runners that ran to their end.
    pub completed: u32,
}

/// A result with its reason and one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The result.
    pub result: RunResult,
    /// The reason.
    pub reason: Reason,
    /// One sentence.
    pub message: String,
}

impl State {
    /// Since when the merged result is awaited, all runners having ended or been stopped.
    pub fn awaits_result(&self) -> Option<Timestamp> {
        match self {
            Self::Started(state) => state.ended.as_ref().map(|ended| ended.at),
            Self::Stopping(state) => state.stopped,
            Self::Initializing(_) | Self::Created(_) | Self::Starting(_) | Self::Finished(_) => None,
        }
    }

    /// The name of this state.
    pub fn name(&self) -> StateName {
        match self {
            Self::Initializing(_) => StateName::Initializing,
            Self::Created(_) => StateName::Created,
            Self::Starting(_) => StateName::Starting,
            Self::Started(_) => StateName::Started,
            Self::Stopping(_) => StateName::Stopping,
            Self::Finished(_) => StateName::Finished,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Initializing(Initializing::default())
    }
}
