//! The status of a run: the history of its events, and what is derived from it.
//!
//! `history` is the truth: [`crate::machine::replay`] computes the other fields from it. Only the live view
//! (`observedGeneration`, `argv`, `runners`, and before the end `message` and `summary`) is observed.

use crate::k6::format;
use crate::machine::{Plan, Reason, Record, RunResult, RunnerFailure, StateName};
use crate::protocol::is_default;
use crate::protocol::outcome::Outcome;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

/// The status of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the resource whose run this is: an edit of spec.rerun counts once the new run has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state of the run: Initializing, Created, Starting, Started, Stopping or Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// The same in the words of grafana/k6-operator: initialization, created, started, stopped, finished or
    /// error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// How a Finished run ended: Passed, Failed (thresholds crossed), Aborted or Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// Why, as one word that tools can match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, or what the run waits for, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The number of this run: 1, and one more for each run that spec.rerun asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The user's arguments of k6, word by word, as each runner gets them; at most 16 KiB of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// What the script asks for, as k6 itself computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The number of runners that are ready, have ended, and are there in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runners: Option<RunnersStatus>,
    /// The runners that did not end well, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<RunnerFailure>,
    /// How many runners that did not end well are not among `failures`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub more_failures: u32,
    /// Ready, Reconciling and Stalled as kstatus reads them, Succeeded, and as they occur Retrying and Unsupported.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::conditions"))]
    pub conditions: Vec<Condition>,
    /// The merged metrics of all runners: at the end, or while the test runs, some seconds ago at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// The time at which all runners had been released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::date_time"))]
    pub start_time: Option<Timestamp>,
    /// The time at which the run was Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::date_time"))]
    pub end_time: Option<Timestamp>,
    /// The time from startTime to endTime, such as 1m30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// The events of the run, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "super::schema::history"))]
    pub history: Vec<Record>,
}

impl Status {
    /// True if another operator wrote it: this one writes `state` whenever it writes `stage`.
    pub fn is_foreign(&self) -> bool {
        self.stage.is_some() && self.state.is_none()
    }

    /// True while a request to the API server is refused or fails, and is tried again.
    pub fn is_retrying(&self) -> bool {
        self.conditions
            .iter()
            .any(|condition| condition.type_ == super::conditions::RETRYING)
    }
}

/// Where a run is, in the words of grafana/k6-operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Stage {
    Initialization,
    // Written by grafana/k6-operator only: here Created follows an inspection at once.
    Initialized,
    Created,
    Started,
    Stopped,
    Finished,
    Error,
}

/// The merged metrics of all runners, in short. All of it is in the ConfigMap `<name>-summary`, once the run has
/// ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Thresholds of the script that hold.
    pub thresholds_passed: u32,
    /// Thresholds of the script that are crossed.
    pub thresholds_failed: u32,
    /// Number of HTTP requests.
    pub requests: u64,
    /// HTTP requests per second.
    pub request_rate: f64,
    /// The share of HTTP requests that failed, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_rate: Option<f64>,
    /// The 95th percentile of the duration of HTTP requests, in ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95_millis: Option<f64>,
    /// Number of iterations of the script.
    pub iterations: u64,
    /// Iterations per second.
    pub iteration_rate: f64,
    /// Number of virtual users: the last value of the test, or of now while it runs.
    #[serde(rename = "vus")]
    pub vus: u64,
    /// The most virtual users at any time.
    #[serde(rename = "vusMax")]
    pub vus_max: u64,
    /// Number of checks that passed.
    pub checks_passed: u64,
    /// Number of checks that failed.
    pub checks_failed: u64,
    /// Bytes that all runners received.
    pub data_received: u64,
    /// Bytes that all runners sent.
    pub data_sent: u64,
    /// The value of p95Millis with its unit, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<String>,
    /// The value of failedRate in percent, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What these numbers lack, in at most 10 sentences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<String>,
}

impl Summary {
    /// The short form of a merged result.
    pub fn of(outcome: &Outcome) -> Self {
        let Outcome {
            thresholds,
            crossed,
            failed: _,
            unknown,
            silent: _,
            totals,
            duration_ms: _,
            incomplete,
        } = outcome;
        // `as` saturates.
        let count = |number: f64| number.round() as u64;
        let rounded = |number: f64, by: f64| (number * by).round() / by;
        Self {
            thresholds_passed: thresholds.saturating_sub(crossed.saturating_add(*unknown)),
            thresholds_failed: *crossed,
            requests: count(totals.requests),
            request_rate: rounded(totals.request_rate, 1e3),
            failed_rate: totals.failed_rate.map(|share| rounded(share, 1e6)),
            p95_millis: totals.p95.map(|ms| rounded(ms, 1e3)),
            iterations: count(totals.iterations),
            iteration_rate: rounded(totals.iteration_rate, 1e3),
            vus: count(totals.vus),
            vus_max: count(totals.vus_max),
            checks_passed: totals.checks_passed,
            checks_failed: totals.checks_total.saturating_sub(totals.checks_passed),
            data_received: count(totals.data_received),
            data_sent: count(totals.data_sent),
            p95: totals.p95.map(|ms| format::time(ms, None)),
            failed: totals.failed_rate.map(format::percent),
            incomplete: incomplete.clone(),
        }
    }
}

/// The number of runners by what they do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RunnersStatus {
    /// Runners whose k6 answers and waits, or runs.
    pub ready: u32,
    /// Runners that have ended.
    pub ended: u32,
    /// All runners of the run.
    pub total: u32,
    /// `ready/total`; of a Finished run, the runners that ran to their end.
    pub summary: String,
}
