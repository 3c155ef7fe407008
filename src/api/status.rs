//! What the operator says of a run: the history of events, and everything that is derived from it.
//!
//! `history` is the truth. Every other field but the live view (`runners`, and `message` while the run
//! lives) is computed from it by [`crate::machine::replay`].

use crate::machine::{Plan, Reason, Record, RunResult, StateName};
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The status of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct K6Status {
    /// Where the run is: Initializing, Created, Starting, Started, Stopping or Finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateName>,
    /// How a Finished run ended: Passed, Failed (thresholds crossed), Aborted or Error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    /// Why, as one word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, or what the run waits for, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The generation of the spec that this run carries out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// What the script asks for, as k6 itself computed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// The runners, seen live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runners: Option<RunnersStatus>,
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

fn date_time(_: &mut SchemaGenerator) -> Schema {
    schemars::json_schema!({"type": "string", "format": "date-time", "nullable": true})
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
