//! What the initializer says of its k6 in the termination message; k6's answer itself is in its log.

use crate::k6::Version;
use serde::{Deserialize, Serialize};

/// The exit code of an initializer that could not start k6, as a shell has it.
pub const NOT_STARTED: u8 = 127;

/// The k6 that has read the script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// Its version, such as `1.1.0`; empty if it did not tell one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it is another k6 than that of the image, which had it built with the extensions that the script imports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolved: bool,
}

impl Inspected {
    /// The version, if it is one.
    pub fn version(&self) -> Option<Version> {
        self.version.parse().ok()
    }

    /// Reads a termination message.
    pub fn from_message(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }
}
