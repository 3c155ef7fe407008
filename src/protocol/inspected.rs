//! The termination message of the initializer, which describes its k6. The answer of k6 itself is in the log.

use crate::k6::Version;
use serde::{Deserialize, Serialize};

/// The exit code of an initializer that could not start k6, as a shell reports it.
pub const NOT_STARTED: u8 = 127;

/// The k6 that read the script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspected {
    /// The version, such as `1.1.0`. Empty if k6 did not print one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Whether it is another k6 than that of the image: one that was built with the extensions that the script imports.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resolved: bool,
    /// Whether neither the script, nor what it imports, nor its options name one of
    /// [`OWN_TAGS`](crate::k6::threshold::OWN_TAGS).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub names_no_own_tag: bool,
    /// Whether neither the script nor what it imports names the module by which it could read its tags.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reads_no_tags: bool,
    /// Whether neither the script nor what it imports has one of [`OF_GROUPS`](crate::k6::system_tags::OF_GROUPS).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_no_groups: bool,
}

impl Inspected {
    /// The version, if it can be parsed.
    pub fn version(&self) -> Option<Version> {
        self.version.parse().ok()
    }

    /// Reads a termination message.
    pub fn from_message(message: &str) -> Option<Self> {
        serde_json::from_str(message).ok()
    }
}
