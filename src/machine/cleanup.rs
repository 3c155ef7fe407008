//! spec.cleanup: whether a resource deletes itself after its run.

use serde::{Deserialize, Serialize};

/// When a resource is deleted after its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Cleanup {
    /// The resource is deleted whatever the result is.
    Post,
    /// The resource is deleted if the result is Passed.
    OnSuccess,
}
