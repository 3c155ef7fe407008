//! When a resource deletes itself after its run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a resource is deleted after its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Cleanup {
    /// Whatever the result.
    Post,
    /// When the result is Passed.
    OnSuccess,
}
