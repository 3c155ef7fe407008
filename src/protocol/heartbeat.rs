//! The heartbeat protocol between a runner and the aggregator: a runner reports its state, and the answer tells it what
//! to do.

use super::{is_default, millis};
use crate::k6::metrics::MetricKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// k6's own numbers of its metrics (REST API), by metric and statistic.
pub type K6Metrics = BTreeMap<String, BTreeMap<String, f64>>;

/// The phase of a runner's k6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It starts, or waits for its release.
    Waiting,
    /// It runs its part of the test.
    Running,
    /// Its part has ended, and its process lingers.
    Ended,
    /// Its process has ended.
    Exited,
}

/// What a runner reports about itself, several times a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Where the runner is.
    pub phase: Phase,
    /// The time since its part of the test began, in whole ms where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub started_ago: Option<Duration>,
    /// The time since its part of the test ended, in whole ms where it is written.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis")]
    pub ended_ago: Option<Duration>,
    /// What k6 itself has measured, once its part has ended, if k6 answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<K6Metrics>,
    /// What k6 says of the script's own metrics that have thresholds, whether or not it has samples of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, MetricKind>,
    /// k6's shares of its Rates while its part runs, if the aggregator asked for them ([`Answer::rates`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<BTreeMap<String, f64>>,
    /// True if `own` is complete: k6 was let go after it had counted everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub let_go: bool,
    /// Set once teardown() has run here: why it failed, or empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub torn_down: Option<String>,
    /// The exit code, once its process has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// True if its part ended before its time, by the script or through k6's API, and not by a directive or a signal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub aborted: bool,
    /// True if its script may have a handleSummary() that k6 would call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handles: bool,
}

/// What the aggregator tells a runner to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "camelCase")]
pub enum Directive {
    /// Go on, or go on waiting.
    Continue {},
    /// A threshold that aborts was crossed: end the test.
    Stop {
        /// The metric and its threshold: `http_reqs: count<10`.
        why: String,
    },
    /// The test was aborted on another runner: end it here too.
    Abort {
        /// The runner on which it was aborted.
        runner: u32,
    },
    /// All runners have ended: run the script's teardown().
    TearDown {},
    /// Everything that the runners measured has arrived: fetch the merged data, end k6, and call handleSummary().
    Summarize {},
    /// Everything that this runner measured has arrived: end the process.
    End {
        /// The thresholds that were crossed over all runners, for the runner whose data came last: it exits with k6's
        /// code for it, for those who read exit codes. The verdict does not depend on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        crossed: Option<String>,
    },
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// What to do.
    #[serde(flatten)]
    pub order: Directive,
    /// The number of series that the runner has sent. k6 needs time at its end to sum them up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub series: u32,
    /// True if k6's own shares are needed while its part runs: some of what the runner exports does not tell zeros
    /// from other values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rates: bool,
}
