//! What the starter and the stopper say when they end: a small JSON document in the pod's
//! termination message, written by the program and read by the operator.

use serde::{Deserialize, Serialize};

/// Where Kubernetes looks for a container's termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";

/// At most this many runners are named in a report; the rest are counted.
pub const NAMED_AT_MOST: usize = 10;

/// The end of a starter's or stopper's work, at most 4096 bytes when serialized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// How many runners were to be reached.
    pub total: u32,
    /// How many of them confirmed: released (start) or stopped (stop).
    pub confirmed: u32,
    /// Microseconds between the first and the last confirmed release order written to the network.
    #[serde(default)]
    pub spread_micros: u64,
    /// The runners that did not confirm, at most [`NAMED_AT_MOST`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// One runner that could not be started or stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The runner's number, 1 to N.
    pub runner: u32,
    /// One sentence.
    pub message: String,
}
