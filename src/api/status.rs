//! What the operator says of a run: the history of events, and everything that is derived from it.
//!
//! `history` is the truth. Every other field but the live view (`observedGeneration`, `argv`, `runners`, and
//! `message` while the run lives) is computed from it by [`crate::machine::replay`].

use crate::machine::{Plan, Reason, Record, RunResult, RunnerFailure, StateName};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The status of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The generation of the resource that was looked at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the run is: Initializing, Created, Starting, Started, Stopping or Finished.
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
    /// Which run of this resource it is: 1, and one more for each that spec.rerun asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The user's arguments of k6, word by word, as each runner gets them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// What the script asks for, as k6 itself computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The runners, seen live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runners: Option<RunnersStatus>,
    /// The runners that did not end well, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<RunnerFailure>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub more_failures: u32,
    /// Ready, Reconciling and Stalled as kstatus reads them, and Succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// When all runners had been released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub start_time: Option<Timestamp>,
    /// When the run was Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "date_time")]
    pub end_time: Option<Timestamp>,
    /// From startTime to endTime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// What has happened, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "history")]
    pub history: Vec<Record>,
}

/// Where a run is, in the words of grafana/k6-operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Stage {
    Initialization,
    Created,
    Started,
    Stopped,
    Finished,
    Error,
}

/// The runners, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn date_time(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "format": "date-time", "nullable": true})
}

fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let items = Condition::json_schema(generator);
    schemars::json_schema!({
        "description": "Ready, Reconciling and Stalled as kstatus reads them, and Succeeded.",
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"]
    })
}

/// Each kind of event has fields of its own; the schema names what all have in common.
fn history(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({
        "description": "What has happened, in order.",
        "type": "array",
        "maxItems": crate::machine::HISTORY_LIMIT,
        "items": {
            "type": "object",
            "required": ["time", "event"],
            "properties": {
                "time": {"type": "string", "format": "date-time"},
                "event": {"type": "string"}
            },
            "x-kubernetes-preserve-unknown-fields": true
        }
    })
}
