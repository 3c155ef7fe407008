//! The terms of a run: what the state machine needs of a spec. They stand in the history, in the event `Accepted`.

use super::stored::{flag, seconds, stored_as_flag};
use crate::protocol::is_default;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// What the state machine needs of a spec.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Number of runners.
    pub parallelism: u32,
    /// How long initialization may take.
    #[serde(rename = "initializationTimeoutSeconds", with = "seconds")]
    pub initialization_timeout: SignedDuration,
    /// How long the runners may take to be ready, and again the starter to release them.
    #[serde(rename = "startTimeoutSeconds", with = "seconds")]
    pub start_timeout: SignedDuration,
    /// How long the test may take; None if this follows from the script.
    #[serde(
        rename = "runTimeoutSeconds",
        with = "seconds::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub run_timeout: Option<SignedDuration>,
    /// The run is held before its runners are created (`suspend: true`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
    /// When the runners begin the test.
    #[serde(
        rename = "unpaused",
        with = "flag",
        default,
        skip_serializing_if = "is_default"
    )]
    pub start: Start,
    /// Whether k6 inspects the script first.
    #[serde(
        rename = "uninspected",
        with = "flag",
        default,
        skip_serializing_if = "is_default"
    )]
    pub inspect: Inspect,
    /// The fields of the spec that this operator does not support, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsupported: Option<String>,
    /// The files and variables that only the initializer has, as a sentence: the script may not find them in a runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlike_runners: Option<String>,
    /// Whether the metrics of all runners are merged.
    #[serde(rename = "unaggregated", default, skip_serializing_if = "is_default")]
    pub metrics: Metrics,
    /// Where setup() and teardown() run; PerRunner too if one of them does not run at all (`--no-setup`).
    #[serde(
        rename = "setupPerRunner",
        with = "flag",
        default,
        skip_serializing_if = "is_default"
    )]
    pub setup: Setup,
    /// Whether the thresholds of the script count.
    #[serde(
        rename = "unjudged",
        with = "flag",
        default,
        skip_serializing_if = "is_default"
    )]
    pub thresholds: Thresholds,
    /// The most requests per second of all runners together, from the arguments or the environment of k6, which k6
    /// prefers to what the script says; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rps: Option<u64>,
}

/// When the runners begin the test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// All at the same moment: they wait, paused, until all are ready.
    #[default]
    Together,
    /// Each as soon as its pod runs (`paused: false`).
    Immediate,
}

/// Whether k6 inspects the script before the runners are created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inspect {
    /// In the initializer: the plan of the run follows from k6's answer.
    #[default]
    Script,
    /// Not at all (`initializer.disabled`): the runners are created at once.
    Skip,
}

/// Whether the thresholds of the script count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thresholds {
    /// They decide the result of the run.
    #[default]
    Judge,
    /// They are neither checked nor judged (`--no-thresholds`).
    Ignore,
}

/// Where setup() and teardown() run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Setup {
    /// Once for the whole test, before the runners are released; all runners get the data.
    #[default]
    Once,
    /// In each runner, as k6 does by itself.
    PerRunner,
}

/// Whether the metrics of all runners are merged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Option<String>", into = "Option<String>")]
pub enum Metrics {
    /// They are, by an aggregator, if the k6 of the runners can export them.
    #[default]
    Merge,
    /// Each runner keeps its own.
    PerRunner {
        /// The reason, as a clause.
        why: String,
    },
}

stored_as_flag!(Start { false: Together, true: Immediate });
stored_as_flag!(Inspect { false: Script, true: Skip });
stored_as_flag!(Setup { false: Once, true: PerRunner });
stored_as_flag!(Thresholds { false: Judge, true: Ignore });

impl From<Option<String>> for Metrics {
    fn from(why: Option<String>) -> Self {
        why.map_or(Self::Merge, |why| Self::PerRunner { why })
    }
}

impl From<Metrics> for Option<String> {
    fn from(metrics: Metrics) -> Self {
        match metrics {
            Metrics::Merge => None,
            Metrics::PerRunner { why } => Some(why),
        }
    }
}
